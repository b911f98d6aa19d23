# SPDX-License-Identifier: GPL-2.0
"""The module's status file: what is intercepted and who is monitored. Pure."""

from dataclasses import dataclass

from pyharness.errors import CheckFailed

MODES = ("listed", "everybody", "everybody-except")


@dataclass(frozen=True)
class Intercepted:
    """One line of the status file.

    Attributes:
        number: the system call's.
        mode: one of MODES.
        pids: who is monitored (listed), or who is not (everybody-except).
    """

    number: int
    mode: str
    pids: frozenset[int]


def parse(text: str) -> dict[int, Intercepted]:
    """The lines of the status file by system call number.

    Raises:
        CheckFailed: it isn't a status file.
    """
    found = {}
    for line in text.splitlines():
        words = line.split()
        if len(words) < 2 or words[1] not in MODES or not all(
            word.isdecimal() for word in (words[0], *words[2:])
        ):  # fmt: skip
            raise CheckFailed(f"the status file has a line that is none: {line!r}")
        found[int(words[0])] = Intercepted(int(words[0]), words[1], frozenset(map(int, words[2:])))
    return found
