# SPDX-License-Identifier: GPL-2.0
"""The last commands and orders of a guest, which the message of a crash quotes. Pure."""

from collections import deque
from dataclasses import dataclass

_LAST = 12  # steps that are kept
_WIDTH = 160  # characters of a step that are shown


@dataclass
class Step:
    """One command or order.

    Attributes:
        what: the command or order, in a readable form.
        answer: its result, in a readable form; empty until there is one.
    """

    what: str
    answer: str = ""

    def __str__(self) -> str:
        return f"{self.what}: {self.answer or 'no answer'}"[:_WIDTH]


class History:
    """The last steps of a guest, the latest at the end."""

    def __init__(self) -> None:
        self._steps: deque[Step] = deque(maxlen=_LAST)

    def begin(self, what: str) -> Step:
        """Add a step, and return it; the caller sets its answer when there is one."""
        step = Step(what)
        self._steps.append(step)
        return step

    def __str__(self) -> str:
        return "\n".join(f"  {step}" for step in self._steps)
