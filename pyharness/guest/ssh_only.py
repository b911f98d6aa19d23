# SPDX-License-Identifier: GPL-2.0
"""A guest of which nothing is known but how to enter it by SSH: somebody else runs it.

All that goes through SSH works there. It has no serial console to read, its
kernel's end is seen as a connection that is lost, and nothing can be thawed.
"""

import getpass
import hashlib
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import paramiko

from pyharness.errors import GuestError, UsageError
from pyharness.guest.guest import Guest
from pyharness.host import cache
from pyharness.host.programs import completed
from pyharness.machine import guest_specs, saved_states
from pyharness.machine.accelerator import Accelerator
from pyharness.machine.guest_specs import GuestSpec
from pyharness.machine.image import Image
from pyharness.machine.qemu_process import Machine
from pyharness.machine.saved_states import SavedState
from pyharness.transport import ssh_keys
from pyharness.transport.ssh import Ssh

_SECONDS = 60.0
# Who runs it knows how fast it is; limits are as long as under emulation.
_ACCEL = Accelerator(name="ssh", reason="somebody else runs it")


@dataclass(frozen=True, kw_only=True)
class Address:
    """How to enter a guest.

    Attributes:
        host: its name or address.
        port: of its SSH server.
        user: who enters; who isn't root becomes so by sudo, without a password.
        keys: the files of the private keys to try; of more than one, some may be missing.
        agent: the keys that the SSH agent holds are tried, too.
        proxy: the shell command whose standard streams lead to the server, if not TCP.
    """

    host: str
    port: int = 22
    user: str = "root"
    keys: tuple[Path, ...]
    agent: bool = False
    proxy: str = ""

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"

    @contextmanager
    def private_keys(self) -> Iterator[list[paramiko.PKey]]:
        """The private keys to try, to be used in the block; those of the agent come first.

        Raises:
            UsageError: there is none, or the one that is named can't be used.
        """
        with ssh_keys.of_agent() as held:
            if len(self.keys) == 1 and not self.agent:
                yield [ssh_keys.load(self.keys[0], held)]
                return
            found = [*held] if self.agent else []
            known = {key.asbytes() for key in found}
            found += [k for k in ssh_keys.usable(self.keys, held) if k.asbytes() not in known]
            if not found:
                raise UsageError(f"this user has no private key for {self}: name one by --ssh-key")
            yield found


_ADDRESS = re.compile(
    r"(?:(?P<user>[^@\s]+)@)?(?P<host>[^:@\s]+|\[[^]\s]+\])(?::(?P<port>\d{1,5}))?"
)


def parse(
    text: str, *, user: str | None = None, key: Path | None = None, config: Path | None = None
) -> Address:
    """An address that is written as ssh(1) takes it, with what its configuration says of it.

    Args:
        text: HOST, or HOST:PORT; HOST may be an alias of the configuration, or USER@HOST.
        user: who enters, whatever the configuration says.
        key: the private key to enter with, likewise.
        config: ssh(1)'s configuration, if not this user's and the system's.

    Raises:
        UsageError: it isn't written so, or the configuration asks for what can't be done.
    """
    found = _ADDRESS.fullmatch(text)
    if not found or int(found["port"] or 22) not in range(1, 1 << 16):
        raise UsageError(f"{text!r} is no HOST:PORT, such as 127.0.0.1:2222")
    asked = ["-p", found["port"]] if found["port"] else []
    if named := user or found["user"]:
        asked += ["-l", named]
    known = _configured(
        [*(["-F", str(config)] if config else []), *asked], found["host"].strip("[]")
    )
    return _resolved(known, alias=found["host"], key=key)


def _configured(options: list[str], host: str) -> dict[str, list[str]]:
    """What ssh(1) would do to enter a host: each of its options with its values.

    Raises:
        UsageError: its configuration has a mistake.
    """
    done = completed("ssh", *options, "-G", "--", host)
    if done.returncode:
        said = done.stderr.strip().splitlines()
        raise UsageError(f"ssh can't make out {host}: {said[0] if said else 'it says nothing'}")
    known: dict[str, list[str]] = {}
    for line in done.stdout.splitlines():
        option, _, value = line.partition(" ")
        known.setdefault(option, []).append(value)
    return known


def _resolved(known: dict[str, list[str]], *, alias: str, key: Path | None) -> Address:
    """The address that ssh(1)'s options make. Pure.

    Raises:
        UsageError: they ask for what can't be done.
    """
    first = {option: values[0] for option, values in known.items()}
    if first.get("proxyjump", "none") != "none":
        raise UsageError(
            f"{alias} has a ProxyJump, which pyharness can't do: write it as"
            f" ProxyCommand ssh -W %h:%p {first['proxyjump']}"
        )
    names = {
        "%": "%",
        "h": first["hostname"],
        "p": first["port"],
        "r": first["user"],
        "n": alias,
        "d": str(Path.home()),
        "u": getpass.getuser(),
    }

    def expanded(value: str) -> str:
        return re.sub(r"%([%hprndu])", lambda found: names[found[1]], value)

    files = [name for name in known.get("identityfile", []) if name != "none"]
    proxy = first.get("proxycommand", "none")
    return Address(
        host=first["hostname"],
        port=int(first["port"]),
        user=first["user"],
        keys=(key.expanduser(),) if key else tuple(Path(expanded(f)).expanduser() for f in files),
        agent=not key and first.get("identitiesonly") != "yes",
        proxy=expanded(proxy) if proxy != "none" else "",
    )


class _Elsewhere(Machine):
    """A machine that somebody else runs."""

    @property
    def alive(self) -> bool:
        return True

    @property
    def orphaned(self) -> bool:
        return False

    def end(self) -> None:
        """It is not this one's to end."""

    def status(self) -> str:
        return "running"

    def qmp(self, *commands: str | tuple[str, dict[str, Any]]) -> Any:
        raise GuestError(f"{self.guest} is known by SSH alone: {commands} can't be asked for")


def enter(address: Address) -> Guest:
    """Enter a guest.

    Raises:
        GuestError: it can't be entered.
        CheckFailed: it lacks what builds a module.
        UsageError: there is no key to enter with, or the guest is of an architecture that
            nothing is known about.
    """

    def connection(watch: Callable[[], object] = lambda: None) -> Ssh:
        return Ssh(
            address.host,
            address.port,
            keys=address.private_keys,
            host_key=None,
            user=address.user,
            proxy=address.proxy,
            watch=watch,
            clock=time.monotonic,
        )

    ssh = connection()
    ssh.connect(_SECONDS)
    try:
        saved_state = _look(ssh, address)
    finally:
        ssh.close()
    machine = _Elsewhere(
        folder=saved_state.folder,
        guest=saved_state.spec.name,
        accel=_ACCEL.name,
        port=address.port,
        pid=0,
        began="",
        owner=None,
    )
    return Guest(saved_state, machine, fresh=False, way_in=connection)


def _look(ssh: Ssh, address: Address) -> SavedState:
    """Find out what a guest is."""
    asked = "uname -r; dpkg --print-architecture; nproc; . /etc/os-release; echo $VERSION_CODENAME"
    release, architecture, cpus, suite = (
        ssh.run(asked, seconds=_SECONDS).check().stdout.split("\n")[:4]
    )
    vermagic, exports = saved_states.kernel_facts(ssh, seconds=_SECONDS)
    name = hashlib.sha256(f"{release} {vermagic} {exports}".encode()).hexdigest()[:12]
    folder = cache.folder() / "remote" / f"{release}-{name}"
    with cache.locked(f"remote-{folder.name}"):
        if not folder.is_dir():
            with cache.atomic_folder(folder) as making:
                (making / "exports").write_text(exports, encoding="utf-8")
    return SavedState(
        folder=folder,
        spec=_spec(str(address), architecture, suite, int(cpus)),
        image=Image(folder=folder, release=release, version="", host_key=""),
        accel=_ACCEL,
        vermagic=vermagic,
    )


def _spec(name: str, architecture: str, suite: str, cpus: int) -> GuestSpec:
    """What is known about guests like it: of the same suite, or just of its architecture."""
    alike = [spec for spec in guest_specs.load().values() if spec.architecture == architecture]
    if not alike:
        raise UsageError(f"{name} is of architecture {architecture}, of which nothing is known")
    like = next((spec for spec in alike if spec.suite == suite), alike[0])
    return replace(like, name=name, suite=suite, cpus=cpus)
