# SPDX-License-Identifier: GPL-2.0
"""What happens in a traced command, and how it is printed. Pure."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from pyharness.linux.call_arguments import Shown, registers


@dataclass(frozen=True, kw_only=True)
class Traced(ABC):
    """What happens in a thread of a traced command: a call, a signal, the thread's end.

    ``str()`` of it is the text that is printed.

    Attributes:
        kind: which of them it is: ``syscall``, ``signal`` or ``exit``.
        thread: the id of the thread.
        process: the id of the thread's process; that of the thread if it is not known.
        program: the name of the thread; empty if it is not known.
        microseconds: when it happened, since the epoch; since boot, if it was read from the
            kernel log.
        took_microseconds: the time that a call took; None if that is not known, and for others.
    """

    kind: ClassVar[str]
    thread: int
    process: int
    program: str
    microseconds: int
    took_microseconds: int | None = None

    @property
    @abstractmethod
    def name(self) -> str:
        """What it is called: the call's or the signal's name, or how the thread has ended."""

    def text(self, _shown: Shown) -> str:
        """Return the text that is printed.

        Args:
            _shown: returns the arguments of a call as text.
        """
        return str(self)


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
    traced: Traced,
    *,
    shown: Shown = registers,
    clock: Callable[[int], str] | None = None,
    took: bool = False,
) -> str:
    """Return the line that is printed.

    Args:
        traced: what has happened.
        shown: returns the arguments of a call as text.
        clock: returns the text of a time in microseconds since the epoch, which the line begins
            with; None: the line has no such time.
        took: whether the line of a call ends with the time that it took, in seconds.
    """
    text = traced.text(shown)
    if clock:
        text = f"{clock(traced.microseconds)} {text}"
    if took and traced.took_microseconds is not None:
        text += f" <{traced.took_microseconds / 1e6:.6f}>"
    return text
