# SPDX-License-Identifier: GPL-2.0
"""Names and numbers of system calls, and of their errors. Pure."""

import errno
from dataclasses import dataclass
from functools import cached_property

import system_calls

from pyharness.errors import UsageError

I386 = "i386"
# What a C int holds: the numbers of system calls and of processes.
INT_LEAST, INT_MOST = -(1 << 31), (1 << 31) - 1


@dataclass(frozen=True)
class Syscalls:
    """The system calls of an architecture, such as ``i386``.

    A kernel for amd64 has a second door for them, ``int 0x80``, with i386's
    numbers: a call by that one is written ``i386:mkdir``.
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

    def by(self, door: str) -> "Syscalls":
        """The system calls of a door, ``""`` for the native one."""
        return Syscalls(door) if door else self

    def door_and_number(self, call: str | int) -> tuple[str, int]:
        """The door and the number of a call: ``("i386", 39)`` for ``i386:mkdir``.

        Raises:
            UsageError: there is no such call.
        """
        door, colon, name = str(call).rpartition(":")
        if not colon:
            return "", self.number(call)
        if (door, self.architecture) != (I386, "x86_64"):
            raise UsageError(f"{self.architecture} has no door {door!r} for system calls")
        return door, Syscalls(door).number(name)

    def known_by(self, number: int, door: str = "") -> int | str:
        """What the module knows a call by, which is the same by every door that it has.

        That is its native number, or ``i386:192`` if only that door has it.
        """
        if not door:
            return number
        name = Syscalls(door).names.get(number)
        return self.numbers.get(name, f"{door}:{number}") if name else f"{door}:{number}"

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
