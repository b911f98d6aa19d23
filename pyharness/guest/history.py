# SPDX-License-Identifier: GPL-2.0
"""What a guest was last asked to do: what one wants to know when its kernel dies. Pure."""

from collections import deque
from dataclasses import dataclass

_LAST = 12
_WIDTH = 160


@dataclass
class Step:
    """One thing that was asked.

    Attributes:
        what: for a person.
        answer: likewise; empty as long as there is none.
    """

    what: str
    answer: str = ""

    def __str__(self) -> str:
        return f"{self.what}: {self.answer or 'no answer'}"[:_WIDTH]


class History:
    """The last steps, the latest at the end."""

    def __init__(self) -> None:
        self._steps: deque[Step] = deque(maxlen=_LAST)

    def begin(self, what: str) -> Step:
        """Note what is asked now; the answer is for the caller to fill in."""
        step = Step(what)
        self._steps.append(step)
        return step

    def __str__(self) -> str:
        return "\n".join(f"  {step}" for step in self._steps)
