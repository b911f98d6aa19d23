# SPDX-License-Identifier: GPL-2.0
"""Names and numbers of system calls by ABI, and names of errno values. Pure."""

import errno
from dataclasses import dataclass
from functools import cache

import system_calls

from pyharness.errors import UsageError

I386 = "i386"
# What Python does not know, or calls by another of two names than the kernel and strace: its table
# has the last one, such as ENOTSUP.
_ERRORS = {
    35: "EDEADLK",
    95: "EOPNOTSUPP",
    133: "EHWPOISON",
    # Of the kernel alone: its include/linux/errno.h.
    512: "ERESTARTSYS",
    513: "ERESTARTNOINTR",
    514: "ERESTARTNOHAND",
    515: "ENOIOCTLCMD",
    516: "ERESTART_RESTARTBLOCK",
    517: "EPROBE_DEFER",
    518: "EOPENSTALE",
    519: "ENOPARAM",
    521: "EBADHANDLE",
    522: "ENOTSYNC",
    523: "EBADCOOKIE",
    524: "ENOTSUPP",
    525: "ETOOSMALL",
    526: "ESERVERFAULT",
    527: "EBADTYPE",
    528: "EJUKEBOX",
    529: "EIOCBQUEUED",
    530: "ERECALLCONFLICT",
}
# The range of a C int, the kernel's type for the numbers of system calls and processes.
INT_LEAST, INT_MOST = -(1 << 31), (1 << 31) - 1


@dataclass(frozen=True)
class SyscallRef:
    """One system call: its number, and the ABI that the number belongs to.

    Attributes:
        number: the call's number in that ABI.
        abi: ``i386``, ``x86_64`` or ``arm64``.
        native: whether the ABI is the kernel's own. A kernel for x86_64 also has i386's,
            by ``int 0x80``.
    """

    number: int
    abi: str
    native: bool = True

    @property
    def name(self) -> str:
        """The call's name; the number in decimal if it has no name."""
        return Syscalls(self.abi).name(self.number)

    def __str__(self) -> str:
        """``mkdir``, or ``i386:mkdir`` in an ABI that is not the kernel's own."""
        return self.name if self.native else f"{self.abi}:{self.name}"


# The types by which a caller may name a system call; Syscalls.ref() describes the forms.
SyscallName = str | int | SyscallRef


@dataclass(frozen=True)
class Syscalls:
    """The system calls of a kernel.

    A kernel for x86_64 has a second ABI, ``int 0x80``, with i386's numbers: a call in that
    ABI is written ``i386:mkdir``.

    Attributes:
        architecture: the kernel's own ABI: ``i386``, ``x86_64`` or ``arm64``.
    """

    architecture: str

    @property
    def bytes_of_long(self) -> int:
        """The size of a C long in bytes, which is that of a register."""
        return 4 if self.architecture == I386 else 8

    @property
    def numbers(self) -> dict[str, int]:
        """The number of each system call in the native ABI, by name."""
        return _numbers(self.architecture)

    @property
    def names(self) -> dict[int, str]:
        """The name of each system call in the native ABI, by number."""
        return _names(self.architecture)

    def ref(self, call: SyscallName, abi: str = "") -> SyscallRef:
        """Resolve a system call that is given by name or number.

        >>> Syscalls("x86_64").ref("i386:mkdir")
        SyscallRef(number=39, abi='i386', native=False)

        Args:
            call: the call's name or number, after its ABI and a colon if that is not the
                kernel's own. A SyscallRef is returned as it is.
            abi: the ABI, if ``call`` does not name it; empty for the kernel's own.

        Raises:
            UsageError: the kernel has no such ABI, or the ABI no such call.
        """
        if isinstance(call, SyscallRef):
            return call
        named, colon, name = str(call).rpartition(":")
        abi = named if colon else abi or self.architecture
        if abi == self.architecture and not colon:
            return SyscallRef(self.number(call), abi)
        if (abi, self.architecture) != (I386, "x86_64"):
            raise UsageError(f"{self.architecture} has no other ABI {abi!r} for system calls")
        return SyscallRef(Syscalls(abi).number(name), abi, native=False)

    def canonical(self, ref: SyscallRef) -> SyscallRef:
        """Return the call under which the module's status file lists ``ref``.

        That is the native call of the same name, or ``ref`` itself if there is no such call.
        """
        number = self.numbers.get(ref.name)
        return ref if ref.native or number is None else SyscallRef(number, self.architecture)

    def number(self, call: str | int) -> int:
        """The number of a system call in the native ABI.

        Args:
            call: the call's name, or its number, which may also be a string such as ``0x27``.

        Raises:
            UsageError: no call has that name, or the number does not fit into a C int.
        """
        number = _given(call)
        if number is None:
            number = self.numbers.get(str(call), INT_MOST + 1)
        if not INT_LEAST <= number <= INT_MOST:  # the kernel would truncate it
            raise UsageError(f"{self.architecture} has no system call {call!r}")
        return number

    def name(self, number: int) -> str:
        """The name of a system call in the native ABI; the number in decimal if it has no name."""
        return self.names.get(number, str(number))


# Loaded once: each line of the kernel log and each command looks up a name.
@cache
def _numbers(architecture: str) -> dict[str, int]:
    table: dict[str, int] = system_calls.syscalls().load_arch_table(architecture)
    return table


@cache
def _names(architecture: str) -> dict[int, str]:
    return {number: name for name, number in _numbers(architecture).items()}


def _given(call: str | int) -> int | None:
    """Parse a call that is given by number; None if it is a name."""
    if isinstance(call, int):
        return call
    try:
        return int(call, 0)
    except ValueError:
        return None


def errno_name(number: int) -> str:
    """The name of an errno value, such as ``EPERM`` for 1; the number if it has no name.

    Of two names, it is the one that strace prints.
    """
    return _ERRORS.get(number) or errno.errorcode.get(number, str(number))
