# SPDX-License-Identifier: GPL-2.0
"""Machines are started, found and ended. Their QEMU is a shell script here."""

import ast
import errno
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import stand_in

import pyharness
from pyharness.errors import GuestError, HostError
from pyharness.host import cache, json_store
from pyharness.machine import gdb_stub, lifecycle, qemu_process
from pyharness.machine.qemu_process import Machine
from pyharness.machine.saved_states import SavedState


@pytest.fixture
def saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SavedState]:
    with stand_in.saved_state(tmp_path, monkeypatch, stand_in.IDLE) as state:
        yield state


def messages() -> Iterator[str]:
    """The strings of the package that are no docstrings, as they are in its source."""
    for file in Path(pyharness.__file__).parent.rglob("*.py"):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        documents = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if isinstance(node, ast.JoinedStr | ast.Constant) and id(node) not in documents:
                yield ast.unparse(node)


def test_a_fix_that_ends_a_guest_names_the_guest() -> None:
    """Without a name, the command is for the default guest."""
    fix = re.compile(r"pyharness (?:down|reset|halt|suspend)\b(?! \{)")
    parts = {
        ast.unparse(part)
        for message in messages()
        for node in [ast.parse(message, mode="eval").body]
        if isinstance(node, ast.JoinedStr)
        for part in node.values
    }
    assert [said for said in messages() if fix.search(said) and said not in parts] == []


def test_the_fix_for_a_guest_is_for_that_guest(saved: SavedState) -> None:
    name = saved.spec.name
    machine = lifecycle.start(saved, persistent=True)
    with pytest.raises(lifecycle.RunsAlready, match=f"pyharness down {name} ends it"):
        lifecycle.start(saved, persistent=True)
    with pytest.raises(lifecycle.RunsAlready, match=f"pyharness down {name} ends it"):
        lifecycle.start_again(name)
    with pytest.raises(GuestError, match=f"pyharness reset {name} starts it anew"):
        lifecycle.saved_state_of(machine)
    assert str(machine.no_room()).endswith(f"make room, then pyharness reset {name}")
    assert str(lifecycle.start(saved).no_room()).endswith("make room, then try again")


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


def test_a_socket_of_gdbs_does_not_outlive_qemu(saved: SavedState) -> None:
    """While it exists, a guest that is paused counts as one that gdb has left."""
    lifecycle.start(saved, persistent=True).end()
    folder = cache.run_folder() / saved.spec.name
    left = folder / gdb_stub.SOCKET
    left.touch()
    Machine.start(saved.spec, saved.kernel, saved.accel, folder=folder, persistent=True)
    assert not left.exists()


def test_a_machine_that_is_switched_off_has_no_state(
    saved: SavedState, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that an interrupted start has left is older than the disk."""
    monkeypatch.setattr(Machine, "status", lambda _machine: "paused")
    machine = lifecycle.start(saved, persistent=True)
    (machine.folder / "state").touch()
    lifecycle.switch_off(machine, seconds=0)
    assert lifecycle.state_of(saved.spec.name) == "off"
