# SPDX-License-Identifier: GPL-2.0
"""What is closed at the end of a ``with`` block."""

from types import TracebackType
from typing import Self


class Closes:
    """A context manager by its close()."""

    def close(self) -> None:
        """Give up what it holds."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
