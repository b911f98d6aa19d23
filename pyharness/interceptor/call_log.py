# SPDX-License-Identifier: GPL-2.0
"""The calls that the interceptor logs: its lines in the kernel log, parsed and formatted. Pure."""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pyharness.linux.kmsg import DEBUG, Record
from pyharness.linux.syscalls import SyscallRef, Syscalls

# INTERCEPTOR_LOG_LINE of interceptor.h; a call by another ABI than the kernel's own ends with its
# name.
_LINE = re.compile(
    r"\[([0-9a-f]{1,8})\]([0-9a-f]{1,16})\(" + ",".join([r"([0-9a-f]{1,16})"] * 6) + r"\)"
    r"(?: (i386))?"
)


@dataclass(frozen=True)
class Call:
    """A call that the module logged.

    Attributes:
        record: the line's record in the kernel log.
        pid: the id of the calling process.
        syscall: which system call, by the ABI that it came by.
        args: its six argument registers.
    """

    record: Record
    pid: int
    syscall: SyscallRef
    args: tuple[int, ...]

    def __str__(self) -> str:
        """For a person: ``[1207] mkdir(0xbf8e3a10, 0x1ff, …)``."""
        args = ", ".join(f"{arg:#x}" for arg in self.args)
        return f"[{self.pid}] {self.syscall}({args})"

    def as_json(self) -> str:
        """A JSON object on one line; docs/command-line.md describes it."""
        return json.dumps(
            {
                "time": self.record.microseconds / 1e6,
                "sequence": self.record.sequence,
                "pid": self.pid,
                "abi": self.syscall.abi,
                "syscall": self.syscall.name,
                "number": self.syscall.number,
                "args": list(self.args),
            }
        )


def parse(record: Record, syscalls: Syscalls) -> Call | None:
    """The call that a record logs; None if it logs none.

    The whole text has to be the module's line. A part of a line, or a line that is mixed
    with other text, is no call.

    Args:
        record: of the kernel log.
        syscalls: the system calls of the kernel that logged it.
    """
    found = _LINE.fullmatch(record.text)
    if not found or record.level != DEBUG:
        return None
    *hexadecimal, abi = found.groups()
    pid, number, *args = (int(group, 16) for group in hexadecimal)
    ref = SyscallRef(number, abi or syscalls.architecture, native=not abi)
    return Call(record, pid, ref, tuple(args))


def calls(records: Iterable[Record], syscalls: Syscalls) -> Iterator[Call]:
    """The calls that records log, in their order; see parse()."""
    return (call for record in records if (call := parse(record, syscalls)))
