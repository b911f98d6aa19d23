# SPDX-License-Identifier: GPL-2.0
"""Records of the kernel log, as ``/dev/kmsg`` returns them. Pure.

A record is ``PRIORITY,SEQUENCE,MICROSECONDS,FLAGS;TEXT``, followed by the lines of
its dictionary (Documentation/ABI/testing/dev-kmsg in the kernel's source). Sequence
numbers are consecutive: a missing number is a record that was lost.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

_RECORD = re.compile(r"(\d+),(\d+),(\d+),[^;]*;([^\n]*)")
_ESCAPED = re.compile(r"\\x([0-9a-f]{2})")

DEBUG = 7  # the level of pr_debug() and KERN_DEBUG


@dataclass(frozen=True)
class Record:
    """One message of the kernel log.

    Attributes:
        level: the severity, from 0 (emergency) to 7 (debug).
        sequence: the record's number, one more than that of the record before it.
        microseconds: the time since boot.
        text: the message, without its newline.
    """

    level: int
    sequence: int
    microseconds: int
    text: str


def parse_record(raw: str) -> Record | None:
    """Parse a record of ``/dev/kmsg``; None if it is damaged."""
    found = _RECORD.match(raw)
    if not found:
        return None
    priority, sequence, microseconds, text = found.groups()
    plain = _ESCAPED.sub(lambda match: chr(int(match[1], 16)), text)
    return Record(int(priority) & 7, int(sequence), int(microseconds), plain)


def lost(records: Iterable[Record]) -> int:
    """Count the records that are missing between the first and the last."""
    sequences = [record.sequence for record in records]
    return sequences[-1] - sequences[0] + 1 - len(sequences) if sequences else 0
