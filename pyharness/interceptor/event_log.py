# SPDX-License-Identifier: GPL-2.0
"""Parses a traced command's events, as the file trace_pipe of tracefs has them. Pure."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from pyharness.linux.syscalls import SyscallRef, Syscalls

# "    sh-1207    (   1207) [001] ...1.   385.932026: syscall: …": the id of the process is there
# only with the option record-tgid. The name of the program may have any characters; what follows
# it is matched to the end of the line, so that the name can't be taken for more than it is.
# thread_end is the kprobe of inside/event_stream.py.
_EVENT = re.compile(
    r"\s*(?P<program>.*)-(?P<thread>\d+)\s+(?:\(\s*(?P<process>\d+|-+)\)\s+)?\[\d+\]\s+\S+\s+"
    r"(?P<seconds>\d+)\.(?P<fraction>\d+): (?:(?:"
    r"syscall: (?P<entered>[0-9a-f]{1,8})\((?P<args>[0-9a-f]{1,16}(?:,[0-9a-f]{1,16}){5})\)"
    r"|syscall_exit: (?P<returned>[0-9a-f]{1,8}) = (?P<value>[0-9a-f]{1,16})"
    r")(?: (?P<abi>i386))?"
    r"|signal_deliver: sig=(?P<signal>\d+) errno=(?P<error>-?\d+) code=(?P<code>-?\d+)"
    r" sa_handler=[0-9a-f]+ sa_flags=[0-9a-f]+"
    r"|thread_end: \(\S+\) status=(?P<status>\d+) last=(?P<last>\d+)"
    r")"
)
_LOST = re.compile(r"CPU:\d+ \[LOST (?:(\d+) )?EVENTS\]")


@dataclass(frozen=True)
class Event:
    """What all events have.

    Attributes:
        thread: the id of the thread.
        process: the id of its process; None if the kernel did not record it.
        program: the name of the thread, as in ``/proc/PID/comm``.
        microseconds: the time, by the clock of the trace.
    """

    thread: int
    process: int | None
    program: str
    microseconds: int


@dataclass(frozen=True)
class Entered(Event):
    """A call that was issued.

    Attributes:
        syscall: the system call, with the ABI through which it was issued.
        args: the values of its six argument registers.
    """

    syscall: SyscallRef
    args: tuple[int, ...]


@dataclass(frozen=True)
class Returned(Event):
    """A call that returned.

    Attributes:
        syscall: the system call, with the ABI through which it was issued.
        value: what it returned; less than 0 for an error.
    """

    syscall: SyscallRef
    value: int


@dataclass(frozen=True)
class Delivered(Event):
    """A signal that was delivered to the thread.

    Attributes:
        signal: its number.
        code: its ``si_code``.
        error: its ``si_errno``.
    """

    signal: int
    code: int
    error: int


@dataclass(frozen=True)
class Ended(Event):
    """The end of the thread.

    Attributes:
        status: how it has ended, as wait(2) encodes it.
        last: whether it was the last thread of its process.
    """

    status: int
    last: bool


@dataclass(frozen=True)
class Lost:
    """Events that the kernel overwrote before they were read.

    Attributes:
        number: how many; 1 if the kernel doesn't say.
    """

    number: int


@dataclass(frozen=True)
class Gap:
    """A moment before which events were lost.

    Attributes:
        microseconds: the time of the next event of the same CPU, by the clock of the trace.
    """

    microseconds: int


def parse(text: str, syscalls: Syscalls) -> Event | Lost | None:
    """Parse a line of trace_pipe.

    Args:
        text: the line.
        syscalls: the system calls of the kernel that wrote it.

    Returns:
        The event, or how many were lost; None if the line is neither.
    """
    if lost := _LOST.fullmatch(text):
        return Lost(int(lost[1] or 1))
    found = _EVENT.fullmatch(text)
    if not found:
        return None
    process = found["process"]
    common = (
        int(found["thread"]),
        int(process) if process and process.isdigit() else None,
        found["program"],
        int(found["seconds"]) * 1_000_000 + int(found["fraction"].ljust(6, "0")[:6]),
    )
    if found["signal"]:
        return Delivered(*common, int(found["signal"]), int(found["code"]), int(found["error"]))
    if found["status"]:  # a module may have a thread end with more than a status can have
        return Ended(*common, int(found["status"]) & 0xFFFF, found["last"] != "0")
    abi = found["abi"]
    number = int(found["entered"] or found["returned"], 16)
    syscall = SyscallRef(number, abi or syscalls.architecture, native=not abi)
    if found["entered"]:
        return Entered(*common, syscall, tuple(int(arg, 16) for arg in found["args"].split(",")))
    return Returned(*common, syscall, _signed(int(found["value"], 16), 8 * syscalls.bytes_of_long))


def _signed(value: int, bits: int) -> int:
    return value - (1 << bits) if value >> (bits - 1) else value


class InOrder:
    """Puts the events of several CPUs in order of time.

    The kernel looks at one CPU's buffer after the other. It may miss an event that is added to
    the first one meanwhile, and yield a later event of the second one before. So events are kept
    until something was read once more.
    """

    def __init__(self) -> None:
        """Begin with no events."""
        self._kept: list[Event | Gap] = []
        self._until = -1  # the time of the last event that was there when push() was last called

    def push(self, events: Iterable[Event | Gap]) -> list[Event | Gap]:
        """Add events that were read, and the gaps between them.

        Returns:
            The events and gaps up to the last one of the call before, in order.
        """
        kept = sorted([*self._kept, *events], key=lambda event: event.microseconds)
        ready = [event for event in kept if event.microseconds <= self._until]
        self._kept = kept[len(ready) :]
        if kept:
            self._until = max(self._until, kept[-1].microseconds)
        return ready

    def rest(self) -> list[Event | Gap]:
        """Return all events and gaps that are kept, in order."""
        kept, self._kept = self._kept, []
        return kept
