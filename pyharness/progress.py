# SPDX-License-Identifier: GPL-2.0
"""What a long step tells while it lasts."""

import sys
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


class _Line:
    def __init__(self, console: Console, title: str) -> None:
        self._console, self._title = console, title

    def at(self, fraction: float, doing: str) -> None:
        self._console.print(
            f"{self._title}: {doing} ({fraction:.0%})", highlight=False, soft_wrap=True
        )


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
    """Tells standard error: a bar on a terminal, a line for each change elsewhere."""

    def __init__(self) -> None:
        self._console = Console(file=sys.stderr)

    def say(self, text: str) -> None:
        """One line."""
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    @contextmanager
    def task(self, title: str) -> Iterator[Task]:
        """A bar with the time that has passed."""
        if not self._console.is_terminal:
            yield _Line(self._console, title)
            return
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[doing]}"),
        )
        with Progress(
            *columns, TimeElapsedColumn(), console=self._console, transient=True
        ) as progress:
            yield _Bar(progress, title)
