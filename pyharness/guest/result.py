# SPDX-License-Identifier: GPL-2.0
"""What a system call of an actor returned. Pure."""

from dataclasses import dataclass

from pyharness.errors import UsageError
from pyharness.linux.syscalls import errno_name


@dataclass(frozen=True)
class Result:
    """What a system call returned.

    Attributes:
        value: the C library's: -1 on an error.
        errno: 0, or the error's number.
        where: for each argument that was no number, the address it was at.
        outputs: what the kernel has left in each Out and InOut, in the arguments' order.
    """

    value: int
    errno: int
    where: tuple[int | None, ...] = ()
    outputs: tuple[bytes, ...] = ()

    @property
    def data(self) -> bytes:
        """The first of the outputs, all of it, however much the kernel has written.

        Raises:
            UsageError: the call had no Out and no InOut.
        """
        if not self.outputs:
            raise UsageError("the call has no output: give it an Out or an InOut")
        return self.outputs[0]

    @property
    def error(self) -> str:
        """The error's name, empty if there is none."""
        return errno_name(self.errno) if self.errno else ""

    def __str__(self) -> str:
        return f"-{self.error}" if self.errno else str(self.value)
