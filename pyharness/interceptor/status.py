# SPDX-License-Identifier: GPL-2.0
"""The module's status file: what is intercepted and who is monitored. Pure."""

import re
from dataclasses import dataclass

from pyharness.errors import CheckFailed

MODES = ("listed", "everybody", "everybody-except")
_LINE = re.compile(rf"((?:i386:)?\d+) ({'|'.join(MODES)})((?: \d+)*)( off)?")


@dataclass(frozen=True)
class Intercepted:
    """One line of the status file.

    Attributes:
        number: the system call's; ``i386:192`` for one that only that door has.
        mode: one of MODES.
        pids: who is monitored (listed), or who is not (everybody-except).
        off: somebody has switched off what the call is intercepted by.
    """

    number: int | str
    mode: str
    pids: frozenset[int]
    off: bool = False


def parse(text: str) -> dict[int | str, Intercepted]:
    """The lines of the status file by system call number.

    Raises:
        CheckFailed: it isn't a status file.
    """
    found = {}
    for line in text.splitlines():
        parts = _LINE.fullmatch(line)
        if parts is None:
            raise CheckFailed(f"the status file has a line that is none: {line!r}")
        number = int(parts[1]) if parts[1].isdecimal() else parts[1]
        pids = frozenset(map(int, parts[3].split()))
        found[number] = Intercepted(number, parts[2], pids, off=bool(parts[4]))
    return found
