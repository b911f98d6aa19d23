# SPDX-License-Identifier: GPL-2.0
"""The result of a system call that an actor issued. Pure."""

from dataclasses import dataclass

from pyharness.errors import UsageError
from pyharness.linux.syscalls import errno_name


@dataclass(frozen=True)
class Result:
    """The result of a system call.

    Attributes:
        value: the return value of the C library's syscall(): -1 on an error.
        errno: the error's number; 0 if there was no error.
        addresses: for each argument, the address of its buffer in the actor; None for a number.
        outputs: the content of each Out and InOut after the call, in the arguments' order.
        injected: whether the kernel has injected the fault that was asked for.
    """

    value: int
    errno: int
    addresses: tuple[int | None, ...] = ()
    outputs: tuple[bytes, ...] = ()
    injected: bool = False

    @property
    def data(self) -> bytes:
        """The content of the first Out or InOut after the call.

        This is the whole buffer, however little of it the kernel has written.

        Raises:
            UsageError: the call had no Out and no InOut.
        """
        if not self.outputs:
            raise UsageError("the call has no output: give it an Out or an InOut")
        return self.outputs[0]

    @property
    def error(self) -> str:
        """The error's name, such as ``EPERM``; empty if there was no error."""
        return errno_name(self.errno) if self.errno else ""

    def __str__(self) -> str:
        return f"-{self.error}" if self.errno else str(self.value)
