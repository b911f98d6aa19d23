# SPDX-License-Identifier: GPL-2.0
"""System calls by ABI: their names and numbers, and the names of their errors. Pure."""

import errno
from dataclasses import dataclass
from functools import cached_property

import system_calls

from pyharness.errors import UsageError

I386 = "i386"
# What a C int holds: the numbers of system calls and of processes.
INT_LEAST, INT_MOST = -(1 << 31), (1 << 31) - 1


@dataclass(frozen=True)
class SyscallRef:
    """One system call: its number, and the ABI that the number belongs to.

    Attributes:
        number: the call's number.
        abi: ``i386``, ``x86_64`` or ``arm64``.
        native: the ABI is the kernel's own; a kernel for x86_64 also has i386's, by ``int 0x80``.
    """

    number: int
    abi: str
    native: bool = True

    @property
    def name(self) -> str:
        """The call's name; the number, in decimal, if it has no name."""
        return Syscalls(self.abi).name(self.number)

    def __str__(self) -> str:
        """``mkdir``, or ``i386:mkdir`` by an ABI that is not the kernel's own."""
        return self.name if self.native else f"{self.abi}:{self.name}"


# How a caller may name a system call: see Syscalls.ref().
SyscallName = str | int | SyscallRef


@dataclass(frozen=True)
class Syscalls:
    """The system calls of a kernel's own ABI, such as ``i386``.

    A kernel for x86_64 has a second ABI, ``int 0x80``, with i386's numbers: a call by
    that one is written ``i386:mkdir``.
    """

    architecture: str

    @property
    def bytes_of_long(self) -> int:
        """The size of its registers, and so of most that its calls point to."""
        return 4 if self.architecture == I386 else 8

    @cached_property
    def numbers(self) -> dict[str, int]:
        """Each call's number by its name."""
        table: dict[str, int] = system_calls.syscalls().load_arch_table(self.architecture)
        return table

    @cached_property
    def names(self) -> dict[int, str]:
        """Each call's name by its number."""
        return {number: name for name, number in self.numbers.items()}

    def ref(self, call: SyscallName, abi: str = "") -> SyscallRef:
        """The call that is named.

        >>> Syscalls("x86_64").ref("i386:mkdir")
        SyscallRef(number=39, abi='i386', native=False)

        Args:
            call: its name or number, with its ABI and a colon before it if that is not
                the kernel's own.
            abi: the ABI, if ``call`` does not name it; empty for the kernel's own.

        Raises:
            UsageError: there is no such call, or no such ABI.
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
        """The same call as the module's status file names it.

        That is the native call of the same name, or the call itself if only its ABI has it.
        """
        number = self.numbers.get(ref.name)
        return ref if ref.native or number is None else SyscallRef(number, self.architecture)

    def number(self, call: str | int) -> int:
        """The number of a call that is named, or given as a number already.

        Raises:
            UsageError: there is no call of that name, or the number does not fit into a C int.
        """
        number = _given(call)
        if number is None:
            number = self.numbers.get(str(call), INT_MOST + 1)
        if not INT_LEAST <= number <= INT_MOST:  # a kernel would see another, cut off
            raise UsageError(f"{self.architecture} has no system call {call!r}")
        return number

    def name(self, number: int) -> str:
        """The name of a number; the number itself if it has none."""
        return self.names.get(number, str(number))


def _given(call: str | int) -> int | None:
    """The number that a call is given as, None if it is a name."""
    if isinstance(call, int):
        return call
    try:
        return int(call, 0)
    except ValueError:
        return None


def errno_name(number: int) -> str:
    """``EPERM`` for 1; the number itself if it has no name."""
    return errno.errorcode.get(number, str(number))
