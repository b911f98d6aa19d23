# SPDX-License-Identifier: GPL-2.0
"""What runs a guest, as the rest of this layer sees it: a protocol that each backend implements.

``qemu_backend.py`` is for the guests that this package starts, ``ssh_backend.py`` for a guest
that somebody else runs and that can only be reached by SSH.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pyharness.guest.compilers import Compiler
from pyharness.linux import kernel_config
from pyharness.machine import qemu_process
from pyharness.machine.root_tree import RootTree
from pyharness.transport.console import Console
from pyharness.transport.ssh import Ssh

# The run state of a guest that a debugger has stopped.
DEBUGGED = qemu_process.DEBUGGED
# A kernel that crashes again while it prints a report can print without end.
MOST_CONSOLE_BYTES = 1 << 19


@dataclass(frozen=True, kw_only=True)
class GuestFacts:
    """The facts about a guest that don't change while it runs.

    Attributes:
        name: the guest's name, such as ``bookworm-i386``, or its address.
        architecture: its architecture as Debian calls it: ``i386``, ``amd64``, ``arm64``.
        syscalls: whose system call numbers its programs use: a name that ``Syscalls`` takes.
        cpus: the number of its CPUs.
        release: the release of its kernel, as ``uname -r`` prints it.
        vermagic: the ``vermagic`` field of modules for its kernel.
        exports: the file of its kernel's exported symbols, in the format of Module.symvers.
        config: the file of its kernel's configuration, in the format of .config; it may be empty.
        headers: a text that identifies the kernel and headers that modules are built for. It is
            the same for guests that differ only in CPUs or memory.
        accelerator: how its instructions are executed: ``kvm``, ``tcg``, or ``ssh`` if that is
            unknown.
        accelerator_reason: why they are executed so.
        timeout_factor: the factor by which time limits are extended for it.
        checks_slabs: whether its kernel's slab allocator can check all objects (``slub_debug``).
    """

    name: str
    architecture: str
    syscalls: str
    cpus: int
    release: str
    vermagic: str
    exports: Path
    config: Path
    headers: str
    accelerator: str
    accelerator_reason: str
    timeout_factor: float
    checks_slabs: bool

    @property
    def kernel_options(self) -> Mapping[str, str]:
        """The kernel's configuration: options that are set, without ``CONFIG_``, and values."""
        return kernel_config.parse(self.config.read_text(encoding="utf-8"))

    def __str__(self) -> str:
        return f"{self.name}, kernel {self.release}, {self.accelerator}"


class GuestBackend(Protocol):
    """What runs a guest. GuestError is raised for everything that a backend can't do."""

    @property
    def facts(self) -> GuestFacts:
        """The facts about the guest."""

    @property
    def persistent(self) -> bool:
        """Whether the guest keeps running when nobody is connected to it."""

    def ssh(self, watch: Callable[[], object]) -> Ssh:
        """Prepare an SSH connection to the guest, which the caller then makes by its connect().

        Args:
            watch: called now and then while the guest is waited for; raises to give up.
        """

    def host_compiler(self) -> Compiler | None:
        """Return what builds modules for the guest on this host; None if only the guest can."""

    def root_tree(self) -> RootTree | None:
        """Return the guest's root file system as a folder of this host; None if it has none."""

    def memory(self, address: int, size: int) -> bytes:
        """Read the kernel's memory, even if the kernel has crashed.

        Args:
            address: a virtual address.
            size: in bytes.
        """

    def status(self) -> str:
        """Return the guest's run state.

        Returns:
            ``running``, ``guest-panicked``, DEBUGGED, or another word of QEMU's for a guest that
            does not run.

        Raises:
            HostError: the guest was stopped because this host's disk is full.
        """

    def console(self) -> Console:
        """Open the root shell on the guest's serial console."""

    def console_size(self) -> int:
        """Return the size of the serial console's output so far, in bytes."""

    def console_text(self, since: int = 0, most: int = MOST_CONSOLE_BYTES) -> str:
        """Return the serial console's output.

        Args:
            since: the offset in bytes at which it begins, as console_size() returned it earlier.
            most: how many bytes it has at most.
        """

    def console_end(self) -> str:
        """Return the end of the serial console's output, at most 512 KiB."""
        return self.console_text(max(0, self.console_size() - MOST_CONSOLE_BYTES))

    def last_words(self) -> str:
        """Return the end of the console's output and what the backend itself has printed."""

    def printed(self) -> str:
        """Return what the backend itself has printed; nothing of it is from the guest."""

    def pause(self) -> None:
        """Stop all CPUs of the guest, and its clock."""

    def resume(self) -> None:
        """Let the CPUs of the guest run on."""

    def instruction_pointers(self) -> list[int]:
        """Return the address that each CPU is at."""

    def inject_nmi(self) -> None:
        """Send the CPUs a non-maskable interrupt, at which the kernel reports where they are."""

    def end(self) -> None:
        """End the guest, and discard its state."""
