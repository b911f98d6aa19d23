# SPDX-License-Identifier: GPL-2.0
"""A machine on which nothing is installed: a bare root file system of a Debian suite.

A command runs there in namespaces of its own, which end with it. It finds this machine's network
and package sources, and none of its programs.
"""

import configparser
import os
import shlex
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import click
import pexpect

from pyharness.machine.mirrors import Mirrors

PACKAGES = ("ca-certificates", "git", "make")
_CERTIFICATES = Path("etc/ssl/certs/ca-certificates.crt")
_APT_SETTINGS = ("Acquire::Check-Valid-Until", "Acquire::Check-Date", "Acquire::http::Proxy")
_PIP_SETTINGS = ("index-url", "extra-index-url", "trusted-host", "proxy", "cert", "timeout")
_MOUNTS = (
    "mount -t proc proc {root}/proc",
    "mount --rbind /sys {root}/sys",
    "mount --rbind /dev {root}/dev",
    "mount -t tmpfs tmpfs {root}/run",
)
# A user namespace can't be made below chroot; below pivot_root it can. Root works in a plain
# chroot, as build daemons and rescue systems have it.
_PIVOT = (
    "mount --rbind {root} {root} && cd {root} && mkdir -p run/old && pivot_root . run/old && cd /",
    "/usr/bin/umount --lazy /run/old",
)


@dataclass(frozen=True)
class Transcript:
    """What a command printed.

    Attributes:
        text: all of it, as on a terminal, but without its colours.
        status: its exit status.
        seconds: how long it took.
        silence: the longest time in which nothing was printed (s).
        before: what was printed last before that.
    """

    text: str
    status: int
    seconds: float
    silence: float
    before: str


@dataclass(frozen=True, kw_only=True)
class FreshMachine:
    """A bare root file system, and who works there.

    Attributes:
        root: the folder that it is in.
        user: ``root``, or a plain user who may use sudo.
    """

    root: Path
    user: str

    @classmethod
    def make(cls, folder: Path, suite: str, user: str) -> "FreshMachine":
        """Make one in a folder; takes root.

        Args:
            folder: a folder that does not exist yet.
            suite: the Debian suite.
            user: who works there, root or another name.
        """
        assert os.geteuid() == 0, "a fresh machine takes root: sudo make test-journeys"
        packages = [*PACKAGES, *(["sudo"] if user != "root" else [])]
        command = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={','.join(packages)}"]
        command += [f'--aptopt={name} "{value}"' for name, value in _apt_settings().items()]
        sources = Mirrors.of_this_host().choices(suite)
        for choice in sources:
            shutil.rmtree(folder, ignore_errors=True)
            done = subprocess.run(
                [*command, suite, str(folder), *choice], check=False, capture_output=True, text=True
            )
            if not done.returncode:
                break
        assert not done.returncode, done.stderr
        machine = cls(root=folder, user=user)
        machine._adopt_network()
        if user != "root":
            subprocess.run(
                ["chroot", folder, "useradd", "--create-home", "--shell", "/bin/bash", user],
                check=True,
            )
            (folder / "etc/sudoers.d" / user).write_text(f"{user} ALL=(ALL) NOPASSWD: ALL\n")
        return machine

    def _adopt_network(self) -> None:
        """Take over how this machine finds hosts, and trusts package sources."""
        for name in ("etc/resolv.conf", "etc/hosts", str(_CERTIFICATES)):
            shutil.copyfile(Path("/") / name, self.root / name)
        settings = configparser.RawConfigParser()
        settings["global"] = _pip_settings()
        with (self.root / "etc/pip.conf").open("w", encoding="utf-8") as file:
            settings.write(file)

    @property
    def home(self) -> Path:
        """The home of its user, as this machine sees it."""
        return self.root / ("root" if self.user == "root" else f"home/{self.user}")

    def give(self, checkout: Path) -> str:
        """Put a bare clone of a checkout there; the URL to clone it from."""
        target = self.home / "pyharness.git"
        command = [
            "git",
            "clone",
            "--quiet",
            "--bare",
            "--no-hardlinks",
            str(checkout),
            str(target),
        ]
        subprocess.run(command, check=True)
        owner = self.home.stat()
        for path in (target, *target.rglob("*")):
            os.chown(path, owner.st_uid, owner.st_gid)
        return f"file:///{target.relative_to(self.root)}"

    def type(self, command: str, *, seconds: float) -> Transcript:
        """Type a command at the user's login shell, on a terminal.

        What it prints is also appended to the file ``terminal.log`` beside the root.

        Args:
            command: a line of shell.
            seconds: how long it may take.
        """
        login = shlex.join(["su", "--login", self.user, "--command", command])
        prepare = _MOUNTS if self.user == "root" else (*_MOUNTS, *_PIVOT)
        enter = f"exec /usr/sbin/chroot {'{root}' if self.user == 'root' else '.'} "
        script = " && ".join((*prepare, enter)).format(root=shlex.quote(str(self.root))) + login
        words = ["--mount", "--pid", "--fork", "--kill-child", "--", "sh", "-c", script]
        begin = last = time.monotonic()
        silence, before, text = 0.0, "", ""
        with self.root.with_name("terminal.log").open("a", encoding="utf-8") as log, pexpect.spawn(
            "unshare", words, env=_environment(), encoding="utf-8", codec_errors="replace",
            dimensions=(50, 160), logfile=log,
        ) as terminal:  # fmt: skip
            while True:
                try:
                    more = terminal.read_nonblocking(1 << 16, timeout=1)
                except pexpect.TIMEOUT:
                    continue
                except pexpect.EOF:
                    break
                finally:
                    assert time.monotonic() - begin < seconds, text[-4000:]
                if time.monotonic() - last > silence:
                    silence, before = time.monotonic() - last, text[-400:]
                last = time.monotonic()
                text += more
            terminal.close()
        status = terminal.exitstatus if terminal.signalstatus is None else -terminal.signalstatus
        plain = click.unstyle(text)
        return Transcript(plain, status, time.monotonic() - begin, silence, before)


def _environment() -> dict[str, str]:
    """What a login has from this machine's environment: nothing but its terminal."""
    return {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "TERM": "xterm"}


def _apt_settings() -> dict[str, str]:
    """How apt is set up here to reach its sources."""
    lines = subprocess.run(
        ["apt-config", "dump", "--no-empty", *_APT_SETTINGS],
        capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    pairs = (line.rstrip(";").split(" ", 1) for line in lines)
    return {name: value.strip('"') for name, value in pairs}


def _pip_settings() -> dict[str, str]:
    """How pip is set up here to reach its sources, less what is on this machine's disk."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    pairs = (line.split("=", 1) for line in listed)
    known = {name.split(".", 1)[1]: value.strip("'\"") for name, value in pairs}
    return {
        name: known[name] for name in _PIP_SETTINGS if name in known and "file:" not in known[name]
    }
