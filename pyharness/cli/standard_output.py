# SPDX-License-Identifier: GPL-2.0
"""Standard output, for text with colours where it is a terminal."""

from rich.console import Console


class _Console(Console):
    """A console that leaves it to the command line what a closed pipe means."""

    def on_broken_pipe(self) -> None:
        """Raise the error, which is being handled."""
        raise  # noqa: PLE0704


def console() -> Console:
    """Return a console that prints to standard output as it is now."""
    return _Console(highlight=False)
