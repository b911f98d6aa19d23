# SPDX-License-Identifier: GPL-2.0
"""Parses and formats the lines that the interceptor writes into the kernel log. Pure."""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pyharness.linux.call_arguments import registers
from pyharness.linux.kmsg import DEBUG, Record
from pyharness.linux.syscalls import SyscallRef, Syscalls

# INTERCEPTOR_LOG_LINE of interceptor.h. The name of the ABI follows if it is not the kernel's own.
_LINE = re.compile(
    r"\[([0-9a-f]{1,8})\]([0-9a-f]{1,16})\(" + ",".join([r"([0-9a-f]{1,16})"] * 6) + r"\)"
    r"(?: (i386))?"
)


@dataclass(frozen=True, kw_only=True)
class RecordedCall:
    """A system call that the module recorded.

    Attributes:
        microseconds: when it was issued, since boot.
        pid: the id of the calling thread; for the first thread of a process, the process id.
        syscall: the system call, with the ABI through which it was issued.
        args: the values of its six argument registers.
    """

    microseconds: int
    pid: int
    syscall: SyscallRef
    args: tuple[int, ...]

    def __str__(self) -> str:
        """Return it in a readable form: ``[1207] mkdir(0xbf8e3a10, 0x1ff, …)``."""
        return readable(self.pid, self.syscall, registers(self.syscall, self.args))

    def as_json(self) -> str:
        """Return it as a JSON object on one line; docs/command-line.md describes the fields."""
        return json.dumps(
            {
                "time": self.microseconds / 1e6,
                **self._place(),
                "pid": self.pid,
                "abi": self.syscall.abi,
                "syscall": self.syscall.name,
                "number": self.syscall.number,
                "args": list(self.args),
            }
        )

    def _place(self) -> dict[str, int]:
        """Return the fields that say where it is recorded."""
        return {}


@dataclass(frozen=True, kw_only=True)
class Call(RecordedCall):
    """A system call that the module recorded in the kernel log.

    Attributes:
        record: the record of the kernel log.
    """

    record: Record

    def _place(self) -> dict[str, int]:
        return {"sequence": self.record.sequence}


def readable(pid: int, syscall: SyscallRef, arguments: Iterable[str]) -> str:
    """Return a call in a readable form: ``[1207] mkdir(0xbf8e3a10, 0x1ff, …)``.

    Args:
        pid: the id of the calling thread.
        syscall: the system call.
        arguments: its arguments.
    """
    return f"[{pid}] {syscall}({', '.join(arguments)})"


def parse(record: Record, syscalls: Syscalls) -> Call | None:
    """Parse a record of the kernel log.

    The record's whole text has to be a line of the module: a part of such a line, or one mixed
    with other text, does not count.

    Args:
        record: the record.
        syscalls: the system calls of the kernel that logged it.

    Returns:
        The call; None if the record is not the module's line for one.
    """
    found = _LINE.fullmatch(record.text)
    if not found or record.level != DEBUG:
        return None
    *hexadecimal, abi = found.groups()
    pid, number, *args = (int(group, 16) for group in hexadecimal)
    ref = SyscallRef(number, abi or syscalls.architecture, native=not abi)
    return Call(
        microseconds=record.microseconds, pid=pid, syscall=ref, args=tuple(args), record=record
    )


def calls(records: Iterable[Record], syscalls: Syscalls) -> Iterator[Call]:
    """Yield the calls that records of the kernel log have, in order; skip all other records.

    Args:
        records: the records.
        syscalls: the system calls of the kernel that logged them.
    """
    return (call for record in records if (call := parse(record, syscalls)))
