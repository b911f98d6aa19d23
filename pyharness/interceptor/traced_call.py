# SPDX-License-Identifier: GPL-2.0
"""A system call of a traced command with its result. Pure."""

from dataclasses import dataclass
from typing import ClassVar

from pyharness.interceptor.call_log import Call, readable
from pyharness.interceptor.traced import Traced
from pyharness.linux import number_forms
from pyharness.linux.call_arguments import Shown, registers
from pyharness.linux.syscalls import I386, SyscallRef, errno_name

NO_RESULT = "?"
# The numbers of errors that the kernel returns are at most this.
_ERRORS = 4095
# Results of calls that a signal interrupted, which no program gets to see.
_RESTARTS = {
    "ERESTARTSYS": "To be restarted if SA_RESTART is set",
    "ERESTARTNOINTR": "To be restarted",
    "ERESTARTNOHAND": "To be restarted if no handler",
    "ERESTART_RESTARTBLOCK": "Interrupted by signal",
}
# What makes a text of a result that is no decimal number.
_FORMS = {
    **dict.fromkeys(("brk", "mmap", "mmap2", "mremap", "shmat"), number_forms.hexadecimal),
    "umask": number_forms.permissions,
}


@dataclass(frozen=True, kw_only=True)
class TracedCall(Traced):
    """A system call of a traced command; it happened when it was issued.

    Attributes:
        syscall: the system call, with the ABI through which it was issued.
        args: the values of its six argument registers.
        result: what it returned, as strace prints it: ``0``, ``-1 ENOENT``, ``?`` if it did not
            return; None if results are not recorded.
        failed: whether the result is an error.
    """

    kind: ClassVar[str] = "syscall"
    syscall: SyscallRef
    args: tuple[int, ...]
    result: str | None = None
    failed: bool = False

    @classmethod
    def of_log(cls, call: Call) -> "TracedCall":
        """Make one of a line of the kernel log, which has no result."""
        return cls(
            thread=call.pid,
            process=call.pid,
            program="",
            syscall=call.syscall,
            args=call.args,
            microseconds=call.microseconds,
        )

    @property
    def name(self) -> str:
        """The call's name: ``mkdir``, or ``i386:mkdir`` in an ABI that is not the kernel's own."""
        return str(self.syscall)

    def __str__(self) -> str:
        """Return it with its registers: ``[1207] mkdir(0xbf8e3a10, 0x1ff, …) = 0``."""
        return self.text(registers)

    def text(self, shown: Shown) -> str:
        """Return it in a readable form.

        Args:
            shown: returns its arguments as text.
        """
        call = readable(self.thread, self.syscall, shown(self.syscall, self.args))
        return call if self.result is None else f"{call} = {self.result}"


def is_error(value: int) -> bool:
    """Whether the result of a system call is an error."""
    return -_ERRORS <= value < 0


def result(syscall: SyscallRef, value: int) -> str:
    """Return the result of a system call as strace prints it.

    Args:
        syscall: the system call.
        value: what it returned; less than 0 for an error.
    """
    if is_error(value):
        name = errno_name(-value)
        if name in _RESTARTS:
            return f"{NO_RESULT} {name} ({_RESTARTS[name]})"
        return f"-1 (errno {name})" if name.isdigit() else f"-1 {name}"
    value %= 1 << (32 if syscall.abi == I386 else 64)
    return _FORMS.get(syscall.name, str)(value)
