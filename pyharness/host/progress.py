# SPDX-License-Identifier: GPL-2.0
"""Show the progress of long steps while they run."""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from rich import progress as bars
from rich.console import Console


class Task(Protocol):
    """A step that is in progress."""

    def at(self, fraction: float, doing: str) -> None:
        """Show how far the step is.

        Args:
            fraction: the part that is done, from 0 to 1.
            doing: what it is doing now.
        """


class Progress(Protocol):
    """Shows messages, and the progress of long steps."""

    def message(self, text: str) -> None:
        """Show one line."""

    def task(self, title: str) -> AbstractContextManager[Task]:
        """Show a step for as long as the context lasts.

        Args:
            title: the step's name.
        """


# Without a terminal, print a line after this many seconds without one, so that a reader of the
# output knows that the step is still running.
_QUIET_SECONDS = 10.0


class _Lines:
    """Shows a step as lines: one for each change, and one after each period without a line."""

    def __init__(self, console: Console, title: str) -> None:
        self._console, self._title = console, title
        self._state = "still running"
        self._begin = self._printed = time.monotonic()
        self._lock = threading.Lock()

    def at(self, fraction: float, doing: str) -> None:
        with self._lock:
            self._state = f"{doing} ({fraction:.0%})"
            self._print(self._state)

    def _print(self, text: str) -> None:
        self._console.print(f"{self._title}: {text}", highlight=False, markup=False, soft_wrap=True)
        self._printed = time.monotonic()

    @contextmanager
    def ticking(self) -> Iterator[None]:
        """Print a line after each period without one, in a thread of its own."""
        over = threading.Event()

        def tick() -> None:
            while not over.wait(max(0.0, self._printed + _QUIET_SECONDS - time.monotonic())):
                with self._lock:
                    now = time.monotonic()
                    if now - self._printed >= _QUIET_SECONDS:
                        self._print(f"{self._state}, {now - self._begin:.0f} s so far")

        thread = threading.Thread(target=tick, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


class _Bar:
    def __init__(self, progress: bars.Progress, title: str) -> None:
        self._progress = progress
        self._id = progress.add_task(title, total=1.0, doing="")

    def at(self, fraction: float, doing: str) -> None:
        self._progress.update(self._id, completed=fraction, doing=doing)


class NoProgress:
    """Shows nothing."""

    def message(self, text: str) -> None:
        """Show nothing."""

    @contextmanager
    def task(self, title: str) -> Iterator[Task]:  # noqa: ARG002
        """Show nothing."""
        yield self

    def at(self, fraction: float, doing: str) -> None:
        """Show nothing."""


class TerminalProgress:
    """Shows progress on standard error: a bar on a terminal, lines elsewhere."""

    def __init__(self) -> None:
        self._console = Console(file=sys.stderr)

    def message(self, text: str) -> None:
        """Print one line."""
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    @contextmanager
    def task(self, title: str) -> Iterator[Task]:
        """Show a step as a bar with the time that has passed; without a terminal, as lines."""
        if not self._console.is_terminal:
            lines = _Lines(self._console, title)
            with lines.ticking():
                yield lines
            return
        columns = (
            bars.TextColumn("{task.description}", markup=False),
            bars.BarColumn(),
            bars.TextColumn("{task.fields[doing]}", markup=False),
        )
        with bars.Progress(
            *columns, bars.TimeElapsedColumn(), console=self._console, transient=True
        ) as progress:
            yield _Bar(progress, title)
