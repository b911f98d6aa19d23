# SPDX-License-Identifier: GPL-2.0
"""What this host brings: its programs, its ports, and its processes' ends."""

import os
import shutil
import socket
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from pyharness.errors import HostError
from pyharness.host import packages

# Where root's programs are (mke2fs, for one), which are not in every user's PATH.
_ROOTS = ("/usr/local/sbin", "/usr/sbin", "/sbin")


def search_path() -> str:
    """The folders in which programs are looked up, as PATH has them."""
    named = os.environ.get("PATH") or os.defpath
    folders = named.split(os.pathsep)
    return os.pathsep.join([*folders, *(folder for folder in _ROOTS if folder not in folders)])


def which(program: str) -> str | None:
    """Where a program is, None if it isn't installed."""
    return shutil.which(program, path=search_path())


def environment(**more: str) -> dict[str, str]:
    """The environment for a program: it finds others where which() does."""
    return os.environ | {"PATH": search_path()} | more


def completed(*command: str) -> "subprocess.CompletedProcess[str]":
    """Run a program of this host to its end, however that is.

    Raises:
        HostError: it isn't installed.
    """
    requires(command[0])
    return subprocess.run(
        command,
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )


def run(*command: str) -> str:
    """Run a program of this host to its end; what it printed.

    Raises:
        HostError: it isn't installed, or fails; the message has its own words.
    """
    done = completed(*command)
    if done.returncode:
        words = done.stderr.strip() or f"exit status {done.returncode}"
        raise HostError(f"{command[0]} failed: {words}")
    return done.stdout


def requires(*programs: str) -> None:
    """Make sure that programs are installed.

    Raises:
        HostError: one isn't; the message says how to install it (see needs.advice).
    """
    if missing := [program for program in programs if not which(program)]:
        raise HostError(f"{', '.join(missing)} not found: {packages.advice(missing)}")


@cache
def version_of(program: str) -> str:
    """The first line that a program prints of its version.

    Raises:
        HostError: it isn't installed, fails, or prints nothing.
    """
    lines = run(program, "--version").splitlines()
    if not lines:
        raise HostError(f"{program} --version prints nothing: {which(program)} is another program")
    return lines[0]


def began(pid: int) -> str:
    """When a process began, such that no other with its number ever began then; "" if it is gone.

    It is counted from the host's boot: a wall clock that is set does not change it.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    # What follows the name, which may have spaces and brackets, begins with field 3; see proc(5).
    return f"{boot}:{stat.rpartition(')')[2].split()[22 - 3]}"


def die_with_parent(command: Sequence[str]) -> list[str]:
    """A command that the kernel ends when who started it ends, even by SIGKILL.

    It replaces itself by the command, which has its process id.
    """
    requires("setpriv")
    return ["setpriv", "--pdeathsig", "KILL", "--", *command]


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
