# SPDX-License-Identifier: GPL-2.0
"""The kernel log as ``/dev/kmsg`` gives it, and the lines in it that the module wrote. Pure.

A record is ``PRIORITY,SEQUENCE,MICROSECONDS,FLAGS;TEXT``, with lines of its
dictionary after it (Documentation/ABI/testing/dev-kmsg in the kernel's source).
Sequence numbers leave no gap: one that is missing is a record that was lost.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pyharness.linux.syscalls import Syscalls

_RECORD = re.compile(r"(\d+),(\d+),(\d+),[^;]*;([^\n]*)")
_CALL = re.compile(
    r"\[([0-9a-f]{1,8})\]([0-9a-f]{1,16})\(" + ",".join([r"([0-9a-f]{1,16})"] * 6) + r"\)"
    r"(?: (i386))?"
)
_ESCAPED = re.compile(r"\\x([0-9a-f]{2})")

DEBUG = 7


@dataclass(frozen=True)
class Record:
    """One message of the kernel.

    Attributes:
        level: 0 (emergency) to 7 (debug).
        sequence: its number, one more than the record's before it.
        microseconds: since boot.
        text: the message, without its newline.
    """

    level: int
    sequence: int
    microseconds: int
    text: str


@dataclass(frozen=True)
class Call:
    """A call that the module logged.

    Attributes:
        record: where it stands.
        pid: who called.
        number: the system call's number.
        args: its six argument registers.
        door: by which it came and whose number it is: ``i386``, or the native one.
    """

    record: Record
    pid: int
    number: int
    args: tuple[int, ...]
    door: str = ""

    def decoded(self, syscalls: Syscalls) -> str:
        """For a person: ``[1207] mkdir(0xbf8e3a10, 0x1ff, …)``."""
        args = ", ".join(f"{arg:#x}" for arg in self.args)
        name = syscalls.by(self.door).name(self.number)
        return f"[{self.pid}] {name}({args}){f' {self.door}' if self.door else ''}"


def parse_record(raw: str) -> Record | None:
    """A record of ``/dev/kmsg``; None if it is damaged."""
    found = _RECORD.match(raw)
    if not found:
        return None
    priority, sequence, microseconds, text = found.groups()
    plain = _ESCAPED.sub(lambda match: chr(int(match[1], 16)), text)
    return Record(int(priority) & 7, int(sequence), int(microseconds), plain)


def parse_call(record: Record) -> Call | None:
    """The call that a record logs; None if it logs none.

    The whole text must be the module's line: a part of one, or one that
    something else is mixed with, is none.
    """
    found = _CALL.fullmatch(record.text)
    if not found or record.level != DEBUG:
        return None
    *hexadecimal, door = found.groups()
    pid, number, *args = (int(group, 16) for group in hexadecimal)
    return Call(record, pid, number, tuple(args), door or "")


def calls(records: Iterable[Record]) -> Iterator[Call]:
    """The calls that records log, in their order."""
    return (call for call in map(parse_call, records) if call)


def lost(records: Iterable[Record]) -> int:
    """How many records are missing between the first and the last."""
    sequences = [record.sequence for record in records]
    return sequences[-1] - sequences[0] + 1 - len(sequences) if sequences else 0
