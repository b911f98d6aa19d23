# SPDX-License-Identifier: GPL-2.0
"""A guest that somebody else runs, and that can only be reached by SSH.

Everything that needs only SSH works there. The harness can't read its serial console, can't
start, pause or save it, and sees a crash of its kernel only as a lost connection.
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

_SECONDS = 60.0  # for the connection, and for each command of _look()
# It is unknown how fast the guest is, so its time limits are as long as an emulated guest's.
_ACCEL = Accelerator(name="ssh", reason="somebody else runs it")


@dataclass(frozen=True, kw_only=True)
class Address:
    """How to connect to a guest by SSH.

    Attributes:
        host: the host's name or address.
        port: the port of its SSH server.
        user: the user to log in as. Commands of a user other than root run by sudo, which must
            not ask for a password.
        keys: the files of the private keys to try. If there is more than one, those that can't
            be used are skipped.
        agent: whether to try the keys of the SSH agent as well.
        proxy: a shell command whose standard streams are connected to the server; empty for TCP.
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
        """Yield the private keys to try, those of the SSH agent first.

        They can be used until the ``with`` block ends, which may close the connection to the
        SSH agent.

        Raises:
            UsageError: there is no key, or the only one that is named can't be used.
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
    """Parse an address, and complete it from the configuration of ssh(1).

    Args:
        text: HOST or HOST:PORT; HOST may be an alias in the configuration, or USER@HOST.
        user: the user to log in as; overrides the text and the configuration.
        key: the file of the only private key to try; overrides the configuration.
        config: the configuration file to use instead of the user's and the system's.

    Returns:
        The address.

    Raises:
        UsageError: the text is no address, or the configuration has a mistake or needs what is
            not supported.
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
    """Return the options with which ssh(1) would connect to a host, each with its values.

    Raises:
        UsageError: the configuration has a mistake.
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
    """Return the address that the options of ssh(1) describe.

    Args:
        known: each option with its values.
        alias: the host's name on the command line.
        key: the file of the only private key to try; None: those of the options.

    Raises:
        UsageError: the options need a ProxyJump, which is not supported.
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
    """A machine that somebody else runs: it counts as running, and is never ended from here."""

    @property
    def alive(self) -> bool:
        return True

    @property
    def orphaned(self) -> bool:
        return False

    def end(self) -> None:
        """Do nothing: the machine belongs to somebody else."""

    def status(self) -> str:
        return "running"

    def qmp(self, *commands: str | tuple[str, dict[str, Any]]) -> Any:
        raise GuestError(f"{self.guest} is known by SSH alone: {commands} can't be asked for")


def enter(address: Address) -> Guest:
    """Connect to a guest.

    Args:
        address: how to connect to it.

    Returns:
        The guest; close() disconnects from it, and leaves it running.

    Raises:
        GuestError: there is no connection.
        CheckFailed: the guest lacks something that the build of a module needs.
        UsageError: there is no private key to try, or no guest of the harness has its
            architecture.
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
    """Ask a guest for the facts that a saved state has about others: kernel, architecture, CPUs."""
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
    """Describe a guest like the harness's own one of its architecture, if possible of its suite.

    Raises:
        UsageError: none of the harness's guests has its architecture.
    """
    alike = [spec for spec in guest_specs.load().values() if spec.architecture == architecture]
    if not alike:
        raise UsageError(f"{name} is of architecture {architecture}, of which nothing is known")
    like = next((spec for spec in alike if spec.suite == suite), alike[0])
    return replace(like, name=name, suite=suite, cpus=cpus)
