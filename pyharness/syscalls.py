# SPDX-License-Identifier: GPL-2.0
"""Names and numbers of system calls, and of their errors. Pure."""

import errno
from dataclasses import dataclass
from functools import cached_property

import system_calls

from pyharness.errors import UsageError

I386 = "i386"
_NUMBERS = range(-(1 << 31), 1 << 31)  # a call's number is an int


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
            UsageError: there is no call of that name, and no call can have that number.
        """
        try:
            number = call if isinstance(call, int) else int(call, 0)
        except ValueError:
            if call not in self.numbers:
                raise UsageError(f"{self.architecture} has no system call {call!r}") from None
            return self.numbers[str(call)]
        if number not in _NUMBERS:
            raise UsageError(f"{number} is no number of a system call: it has more than 32 bits")
        return number

    def name(self, number: int) -> str:
        """The name of a number; the number itself if it has none."""
        return self.names.get(number, str(number))


def errno_name(number: int) -> str:
    """``EPERM`` for 1; the number itself if it has no name."""
    return errno.errorcode.get(number, str(number))
