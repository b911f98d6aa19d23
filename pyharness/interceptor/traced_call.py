# SPDX-License-Identifier: GPL-2.0
"""A system call of a traced command with its result, and how both are printed. Pure."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from pyharness.interceptor.call_log import Call, readable
from pyharness.linux.call_arguments import Shown, registers
from pyharness.linux.syscalls import I386, SyscallRef, errno_name

NO_RESULT = "?"
# The numbers of errors that the kernel returns are at most this.
_ERRORS = 4095
# Results of calls that a signal interrupted, which no program gets to see.
_RESTARTS = {
    512: "ERESTARTSYS",
    513: "ERESTARTNOINTR",
    514: "ERESTARTNOHAND",
    516: "ERESTART_RESTARTBLOCK",
}
_RETURN_ADDRESSES = frozenset(("brk", "mmap", "mmap2", "mremap", "shmat"))


@dataclass(frozen=True, kw_only=True)
class TracedCall:
    """A system call of a traced command.

    Attributes:
        thread: the id of the thread that called it.
        process: the id of the thread's process; that of the thread if it is not known.
        program: the name of the thread; empty if it is not known.
        syscall: the system call, with the ABI through which it was issued.
        args: the values of its six argument registers.
        microseconds: when it was issued, since the epoch; since boot, if the call was read from
            the kernel log.
        took_microseconds: the time until it returned; None if that is not known.
        result: what it returned, as strace prints it: ``0``, ``-1 ENOENT``, ``?`` if it did not
            return; None if results are not recorded.
        failed: whether the result is an error.
    """

    thread: int
    process: int
    program: str
    syscall: SyscallRef
    args: tuple[int, ...]
    microseconds: int
    took_microseconds: int | None = None
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
            microseconds=call.record.microseconds,
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
        if restart := _RESTARTS.get(-value):
            return f"{NO_RESULT} {restart}"
        return f"-1 {errno_name(-value)}"
    value %= 1 << (32 if syscall.abi == I386 else 64)
    return f"{value:#x}" if syscall.name in _RETURN_ADDRESSES else str(value)


def time_of_day(microseconds: int, *, fraction: bool) -> str:
    """Return the local time of day, ``15:04:05`` or ``15:04:05.123456``.

    Args:
        microseconds: the time since the epoch.
        fraction: whether it has the microseconds.
    """
    seconds, rest = divmod(microseconds, 1_000_000)
    text = time.strftime("%H:%M:%S", time.localtime(seconds))
    return f"{text}.{rest:06}" if fraction else text


def line(
    call: TracedCall,
    *,
    shown: Shown = registers,
    clock: Callable[[int], str] | None = None,
    took: bool = False,
) -> str:
    """Return the line that is printed for a call.

    Args:
        call: the call.
        shown: returns its arguments as text.
        clock: returns the text of a time in microseconds since the epoch, which the line begins
            with; None: the line has no such time.
        took: whether the line ends with the time that the call took, in seconds.
    """
    text = call.text(shown)
    if clock:
        text = f"{clock(call.microseconds)} {text}"
    if took and call.took_microseconds is not None:
        text += f" <{call.took_microseconds / 1e6:.6f}>"
    return text
