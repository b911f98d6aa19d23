# SPDX-License-Identifier: GPL-2.0
"""What a long step tells while it lasts."""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn


class Task(Protocol):
    """A step under way."""

    def at(self, fraction: float, doing: str) -> None:
        """Tell how far it is, from 0 to 1, and what it does now."""


class Teller(Protocol):
    """Who is told of steps that last."""

    def say(self, text: str) -> None:
        """Tell one fact in a line."""

    def task(self, title: str) -> AbstractContextManager[Task]:
        """Tell that a step begins; it lasts as long as the context."""


# Where there is no bar that moves, a line is printed after so many seconds without one.
_QUIET_SECONDS = 10.0


class _Lines:
    """A step's lines: one for each change, and one now and then, so that it is known to go on."""

    def __init__(self, console: Console, title: str) -> None:
        self._console, self._title = console, title
        self._state = "goes on"
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
        """Print a line whenever there was none for a while, whatever else this process does."""
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
    def __init__(self, progress: Progress, title: str) -> None:
        self._progress = progress
        self._id = progress.add_task(title, total=1.0, doing="")

    def at(self, fraction: float, doing: str) -> None:
        self._progress.update(self._id, completed=fraction, doing=doing)


class Silent:
    """Tells nobody anything."""

    def say(self, text: str) -> None:
        """Nothing."""

    @contextmanager
    def task(self, title: str) -> Iterator[Task]:  # noqa: ARG002
        """A step that nobody hears of."""
        yield self

    def at(self, fraction: float, doing: str) -> None:
        """Nothing."""


class Terminal:
    """Tells standard error: a bar on a terminal that moves each second, lines elsewhere."""

    def __init__(self) -> None:
        self._console = Console(file=sys.stderr)

    def say(self, text: str) -> None:
        """One line."""
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    @contextmanager
    def task(self, title: str) -> Iterator[Task]:
        """A bar with the time that has passed."""
        if not self._console.is_terminal:
            lines = _Lines(self._console, title)
            with lines.ticking():
                yield lines
            return
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.fields[doing]}", markup=False),
        )
        with Progress(
            *columns, TimeElapsedColumn(), console=self._console, transient=True
        ) as progress:
            yield _Bar(progress, title)
