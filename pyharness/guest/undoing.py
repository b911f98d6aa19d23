# SPDX-License-Identifier: GPL-2.0
"""Restores what was changed in a guest."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from pyharness.errors import GuestCrashed, GuestError


@contextmanager
def undone(undo: Callable[[], object]) -> Iterator[None]:
    """Undo at the end of a block what was done before it or in it.

    If the guest has crashed, nothing is undone: each command would wait for its time limit. If
    the block raises an exception, it is not replaced by that of a guest that does not answer.

    Args:
        undo: undoes it.

    Raises:
        GuestError: the guest does not answer.
    """
    try:
        yield
    except GuestCrashed:
        raise
    except BaseException:
        with suppress(GuestError):
            undo()
        raise
    undo()
