# SPDX-License-Identifier: GPL-2.0
"""What was changed in a guest is restored, unless the guest has crashed; needs no guest."""

import pytest

from pyharness.errors import ActorGone, GuestCrashed, GuestError
from pyharness.guest.undoing import undone


class Change:
    """Something to undo."""

    def __init__(self, error: Exception | None = None) -> None:
        """Undoing it raises that error."""
        self.times = 0
        self._error = error

    def undo(self) -> None:
        self.times += 1
        if self._error:
            raise self._error


def test_it_is_undone_once() -> None:
    change = Change()
    with undone(change.undo):
        assert change.times == 0
    assert change.times == 1


@pytest.mark.parametrize("error", [KeyboardInterrupt, GuestError, BrokenPipeError])
@pytest.mark.parametrize("other", [None, ActorGone()])
def test_an_error_is_not_replaced(error: type[BaseException], other: Exception | None) -> None:
    change = Change(other)
    with pytest.raises(error), undone(change.undo):
        raise error
    assert change.times == 1


def test_nothing_is_asked_of_a_guest_that_has_crashed() -> None:
    change = Change()
    with pytest.raises(GuestCrashed), undone(change.undo):
        raise GuestCrashed("panicked")
    assert change.times == 0


def test_a_guest_that_does_not_answer_is_reported() -> None:
    with pytest.raises(ActorGone), undone(Change(ActorGone()).undo):
        pass
