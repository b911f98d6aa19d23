# SPDX-License-Identifier: GPL-2.0
"""Machines are started, found and ended. Their QEMU is a shell script here."""

import errno
from collections.abc import Iterator
from pathlib import Path

import pytest
import stand_in

from pyharness.errors import HostError
from pyharness.host import cache, json_store
from pyharness.machine import lifecycle, qemu_process
from pyharness.machine.saved_states import SavedState


@pytest.fixture
def saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SavedState]:
    with stand_in.saved_state(tmp_path, monkeypatch, stand_in.IDLE) as state:
        yield state


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, as it may come at any moment."""


@pytest.mark.parametrize("persistent", [True, False])
@pytest.mark.parametrize(
    ("error", "seen"),
    [(OSError(errno.ENOSPC, "No space left on device"), HostError), (Interrupted(), Interrupted)],
)
def test_a_machine_that_is_not_recorded_is_ended(
    saved: SavedState,
    monkeypatch: pytest.MonkeyPatch,
    persistent: bool,
    error: BaseException,
    seen: type[BaseException],
) -> None:
    """Nobody would find it any more."""

    def fail(_file: Path, _facts: object) -> None:
        raise error

    monkeypatch.setattr(json_store, "write", fail)
    with pytest.raises(seen):
        lifecycle.start(saved, persistent=persistent)
    (process,) = qemu_process._started.values()
    assert process.poll() is not None
    assert list(cache.run_folder().iterdir()) == []
