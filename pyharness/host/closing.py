# SPDX-License-Identifier: GPL-2.0
"""A base class for objects that are closed at the end of a ``with`` block."""

from types import TracebackType
from typing import Self


class Closes:
    """A context manager that calls its own close() at the end of the block."""

    def close(self) -> None:
        """Release the resources that this object holds."""
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
