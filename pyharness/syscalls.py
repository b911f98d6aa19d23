# SPDX-License-Identifier: GPL-2.0
"""Names and numbers of system calls, and of their errors. Pure."""

import errno
from dataclasses import dataclass
from functools import cached_property

import system_calls

from pyharness.errors import UsageError


@dataclass(frozen=True)
class Syscalls:
    """The system calls of an architecture, such as ``i386``."""

    architecture: str

    @cached_property
    def numbers(self) -> dict[str, int]:
        """Each call's number by its name."""
        table: dict[str, int] = system_calls.syscalls().load_arch_table(self.architecture)
        return table

    @cached_property
    def names(self) -> dict[int, str]:
        """Each call's name by its number."""
        return {number: name for name, number in self.numbers.items()}

    def number(self, call: str | int) -> int:
        """The number of a call that is named, or given as a number already.

        Raises:
            UsageError: there is no call of that name.
        """
        if isinstance(call, int):
            return call
        try:
            return int(call, 0)
        except ValueError:
            pass
        if call not in self.numbers:
            raise UsageError(f"{self.architecture} has no system call {call!r}")
        return self.numbers[call]

    def name(self, number: int) -> str:
        """The name of a number; the number itself if it has none."""
        return self.names.get(number, str(number))


def errno_name(number: int) -> str:
    """``EPERM`` for 1; the number itself if it has no name."""
    return errno.errorcode.get(number, str(number))
