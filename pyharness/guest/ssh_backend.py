# SPDX-License-Identifier: GPL-2.0
"""The backend of a guest that somebody else runs, and that can only be reached by SSH.

Everything that needs only SSH works there. The harness can't read its serial console, can't
start, pause or save it, and sees a crash of its kernel only as a lost connection.
"""

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

from pyharness.errors import GuestError, UsageError
from pyharness.guest.backend import MOST_CONSOLE_BYTES, GuestBackend, GuestFacts
from pyharness.guest.compilers import Compiler
from pyharness.guest.guest import Guest
from pyharness.host import cache
from pyharness.machine import guest_specs, saved_states
from pyharness.machine.root_tree import RootTree
from pyharness.transport.console import Console
from pyharness.transport.ssh import Ssh
from pyharness.transport.ssh_address import Address

_SECONDS = 60.0  # for the connection, and for each command of _look()
# It is unknown how fast the guest is, so its time limits are as long as an emulated guest's.
_TIMEOUT_FACTOR = 6.0


# Debian's names of architectures, by the kernel's.
_ARCHITECTURES = {
    **dict.fromkeys(("i386", "i486", "i586", "i686"), "i386"),
    "x86_64": "amd64",
    "aarch64": "arm64",
}
# What the answers of _look() begin with, so that nothing else is taken for them.
_MARK = "pyharness:"


@dataclass(frozen=True)
class SshBackend(GuestBackend):
    """A guest that somebody else runs: it counts as running, and is never ended from here.

    Attributes:
        address: how to connect to it.
        known: the facts about it.
    """

    address: Address
    known: GuestFacts

    @property
    def facts(self) -> GuestFacts:
        return self.known

    @property
    def persistent(self) -> bool:
        return True

    def ssh(self, watch: Callable[[], object]) -> Ssh:
        return _connection(self.address, watch)

    def host_compiler(self) -> Compiler | None:
        return None

    def root_tree(self) -> RootTree | None:
        return None

    def memory(self, address: int, size: int) -> bytes:
        raise GuestError("the memory of a guest that is reached by SSH alone can't be read")

    def status(self) -> str:
        return "running"

    def console(self) -> Console:
        self._refuse("its console can't be opened")

    def console_size(self) -> int:
        return 0

    def console_text(self, since: int = 0, most: int = MOST_CONSOLE_BYTES) -> str:
        return ""

    def last_words(self) -> str:
        return ""

    def printed(self) -> str:
        return ""

    def pause(self) -> None:
        self._refuse("it can't be paused")

    def resume(self) -> None:
        self._refuse("it can't be resumed")

    def instruction_pointers(self) -> list[int]:
        self._refuse("its registers can't be read")

    def inject_nmi(self) -> None:
        self._refuse("it can't be interrupted")

    def end(self) -> None:
        """Do nothing: the guest belongs to somebody else."""

    def _refuse(self, what: str) -> NoReturn:
        raise GuestError(f"{self.known.name} is reached only by SSH: {what}")


def _connection(address: Address, watch: Callable[[], object] = lambda: None) -> Ssh:
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


def enter(address: Address) -> Guest:
    """Connect to a guest.

    Args:
        address: how to connect to it.

    Returns:
        The guest; close() disconnects from it, and leaves it running.

    Raises:
        GuestError: there is no connection, or its shell prints what nobody has asked for.
        CheckFailed: the guest lacks something that the build of a module needs.
        UsageError: there is no private key to try, or no guest of the harness has its
            architecture.
    """
    ssh = _connection(address)
    ssh.connect(_SECONDS)
    try:
        facts = _look(ssh, str(address))
    finally:
        ssh.close()
    return Guest(SshBackend(address, facts), fresh=False)


def _look(ssh: Ssh, name: str) -> GuestFacts:
    """Ask a guest for the facts about it and its kernel.

    Raises:
        UsageError: none of the harness's guests has its architecture.
        GuestError: it runs no command, or its shell prints more than what is asked for, or less.
    """
    asked = ('"$(uname -r)"', '"$(uname -m)"', '"$(nproc)"', '"$(cat /proc/cmdline)"')
    done = ssh.run(f"printf '%s\\n' {_MARK} {' '.join(asked)}", seconds=_SECONDS)
    before, mark, found = done.stdout.partition(f"{_MARK}\n")
    if done.status and not mark and (said := done.stderr.strip()):
        why = said.splitlines()[-1]
        fix = ": let sudo ask for no password, or log in as root" * why.startswith("sudo:")
        raise GuestError(f"{name} can't run a command: {why}{fix}")
    if mark and before.strip():
        raise GuestError(
            f"the shell of {name} prints {before.splitlines()[0]!r} before each answer: have its"
            " start-up files, such as ~/.bashrc, print nothing where there is no terminal"
        )
    release, machine, cpus, command_line, *_ = [*found.splitlines(), *[""] * len(asked)]
    if not (release and machine and cpus.isdecimal()):
        raise GuestError(f"{name} does not answer as a Linux system with sh, uname and nproc does")
    architecture = _ARCHITECTURES.get(machine, machine)
    alike = [spec for spec in guest_specs.load().values() if spec.architecture == architecture]
    if not alike:
        raise UsageError(f"{name} is of architecture {architecture}, which is not supported")
    kernel = saved_states.kernel_facts(ssh, seconds=_SECONDS)
    digest = hashlib.sha256(f"{release} {kernel}".encode()).hexdigest()[:12]
    folder = cache.folder() / "remote" / f"{release}-{digest}"
    with cache.locked(f"remote-{folder.name}"):
        if not folder.is_dir():
            with cache.atomic_folder(folder) as making:
                (making / "exports").write_text(kernel.exports, encoding="utf-8")
                (making / "config").write_text(kernel.config, encoding="utf-8")
    return GuestFacts(
        name=name,
        architecture=architecture,
        syscalls=alike[0].syscalls,
        cpus=int(cpus),
        release=release,
        vermagic=kernel.vermagic,
        exports=folder / "exports",
        config=folder / "config",
        headers=f"{folder.name} {kernel.vermagic}",
        accelerator="ssh",
        accelerator_reason="somebody else runs it",
        timeout_factor=_TIMEOUT_FACTOR,
        checks_slabs="slub_debug=" in command_line,
    )
