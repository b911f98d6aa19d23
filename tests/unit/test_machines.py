# SPDX-License-Identifier: GPL-2.0
"""Machines are started, found and ended. Their QEMU is a shell script here."""

import ast
import errno
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import stand_in

import pyharness
from pyharness.errors import GuestError, HostError, UsageError
from pyharness.host import cache, file_lock, json_store
from pyharness.machine import (
    command_line,
    gdb_stub,
    in_use,
    lifecycle,
    qemu_process,
    qmp,
    saved_with,
    state_file,
)
from pyharness.machine.qemu_process import Machine
from pyharness.machine.saved_states import STATE, SavedState

WAIT_RUNNING = state_file.wait_running  # a stand-in takes its place


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


@pytest.mark.parametrize("other", [lifecycle.sweep, lambda: None])
def test_a_guest_that_shuts_down_keeps_its_disk(
    saved: SavedState, monkeypatch: pytest.MonkeyPatch, other: Callable[[], None]
) -> None:
    """Though another process looks for what to remove just then, or this one is killed."""
    monkeypatch.setattr(Machine, "status", lambda _machine: "paused")
    machine, end = lifecycle.start(saved, persistent=True), Machine.end
    states: list[str] = []

    def look(ended: Machine) -> None:
        end(ended)
        other()
        states.append(lifecycle.state_of(saved.spec.name))

    monkeypatch.setattr(Machine, "end", look)
    lifecycle.switch_off(machine, seconds=0)
    assert states == ["off"]
    assert (machine.folder / command_line.DISK).exists()


def test_a_guest_that_does_not_shut_down_is_not_off(
    saved: SavedState, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = lifecycle.start(saved, persistent=True)
    monkeypatch.setattr(qmp, "_LISTEN_SECONDS", 0.5)
    with pytest.raises(GuestError):  # nobody listens at the monitor's socket
        lifecycle.switch_off(machine, seconds=0)
    qemu_process._started[machine.pid].kill()
    qemu_process._started[machine.pid].wait()
    assert lifecycle.state_of(saved.spec.name) == "crashed"


@pytest.mark.parametrize("ended_by", ["Ctrl-C", "a stalled disk"])
def test_a_guest_that_shuts_down_after_its_halt_was_ended_keeps_its_disk(
    saved: SavedState, monkeypatch: pytest.MonkeyPatch, ended_by: str
) -> None:
    """The guest has been asked to power off, so that it will."""

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt if ended_by == "Ctrl-C" else HostError("it does not end")

    monkeypatch.setattr(Machine, "status", lambda _machine: "running")
    monkeypatch.setattr(lifecycle, "_power_off", stop if ended_by == "Ctrl-C" else loaded)
    machine, end = lifecycle.start(saved, persistent=True), Machine.end
    monkeypatch.setattr(Machine, "end", stop)
    with pytest.raises((KeyboardInterrupt, HostError)):
        lifecycle.switch_off(machine, seconds=0)
    assert lifecycle.state_of(saved.spec.name) == "running"
    end(machine)  # it powers off
    lifecycle.sweep()
    assert lifecycle.state_of(saved.spec.name) == "off"
    assert (machine.folder / command_line.DISK).exists()


def loaded(*_: object, **__: object) -> None:
    """Stands in for what takes long."""


@pytest.mark.parametrize("what", ["suspend", "halt"])
@pytest.mark.parametrize("meanwhile", ["is suspended", "is reset"])
def test_a_machine_that_another_process_has_ended_is_left_alone(
    saved: SavedState, monkeypatch: pytest.MonkeyPatch, what: str, meanwhile: str
) -> None:
    monkeypatch.setattr(Machine, "status", lambda _machine: "running")
    monkeypatch.setattr(saved_with, "note", loaded)
    monkeypatch.setattr(state_file, "save", lambda _machine, file: file.write_bytes(b"QEVM"))
    name = saved.spec.name
    machine = lifecycle.start(saved, persistent=True)
    if meanwhile == "is suspended":
        lifecycle.suspend(machine)
    else:
        lifecycle.end(machine)
        lifecycle.start(saved, persistent=True)
    before = lifecycle.state_of(name)
    end = lifecycle.suspend if what == "suspend" else partial(lifecycle.switch_off, seconds=0)
    with pytest.raises(UsageError, match=f"another process has ended {name} meanwhile: "):
        end(machine)
    assert lifecycle.state_of(name) == before
    assert (machine.folder / STATE).exists() == (meanwhile == "is suspended")
    assert not (machine.folder / "off").exists()


def test_a_suspended_guest_may_give_up_its_memory(saved: SavedState) -> None:
    machine = lifecycle.start(saved, persistent=True)
    machine.end()
    (machine.folder / STATE).write_bytes(b"QEVM")
    lifecycle.discard_memory(saved.spec.name)
    assert lifecycle.state_of(saved.spec.name) == "off"
    assert (machine.folder / command_line.DISK).exists()
    with pytest.raises(UsageError, match="is off by now"):
        lifecycle.discard_memory(saved.spec.name)


def test_a_guest_whose_memory_is_loaded_is_not_given_up(
    saved: SavedState, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its state on the disk is used up: what goes on later is QEMU."""
    machine, answers = lifecycle.start(saved, persistent=True), False
    machine.end()
    (machine.folder / STATE).write_bytes(b"QEVM")
    states = ["paused"]

    def qmp(_machine: Machine, command: str) -> None:
        if not answers:
            raise GuestError("QEMU does not answer")
        assert command == "cont"
        states.append("running")

    monkeypatch.setattr(state_file, "wait_running", WAIT_RUNNING)
    monkeypatch.setattr(Machine, "status", lambda _machine: states[-1])
    monkeypatch.setattr(Machine, "qmp", qmp)
    monkeypatch.setattr(lifecycle, "_saved_state_in", lambda *_: saved)
    for use in (lifecycle.start_again, lifecycle.running):
        with pytest.raises(GuestError, match="does not answer"):
            use(saved.spec.name)
    answers = True
    for _ in range(2):
        assert lifecycle.running(saved.spec.name)
        assert states == ["paused", "running"]
    assert not [*machine.folder.glob("state*")]


@pytest.mark.parametrize("name", ["linux-6.12", "linux-6.12-1"])
def test_a_persistent_machine_has_a_lock_whatever_its_name_is(
    saved: SavedState, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """One that ends with its process may have such a name, too."""
    held: list[str] = []

    @contextmanager
    def locked(lock: str) -> Iterator[None]:
        held.append(lock)
        yield

    for persistent in (True, False):
        other = replace(saved, spec=replace(saved.spec, name=name))
        machine = lifecycle.start(other, persistent=persistent)
        with monkeypatch.context() as watched:
            watched.setattr(cache, "locked", locked)
            lifecycle.end(machine)
    assert held == [f"run-{name}"]


@pytest.mark.parametrize(("mark", "state"), [("state", "suspended"), ("off", "off")])
def test_a_guest_that_can_start_again_is_not_started_anew(
    saved: SavedState, mark: str, state: str
) -> None:
    """Another process may just have suspended it, or halted it."""
    machine = lifecycle.start(saved, persistent=True)
    machine.end()
    (machine.folder / mark).touch()
    name = saved.spec.name
    message = f"{name} is {state}: pyharness up {name} starts it again, pyharness down {name}"
    with pytest.raises(UsageError, match=message):
        lifecycle.start(saved, persistent=True)
    assert (machine.folder / command_line.DISK).exists()
    assert lifecycle.state_of(name) == state


@pytest.mark.parametrize("remove", ["end", "sweep"])
def test_a_machine_that_starts_again_meanwhile_is_kept(
    saved: SavedState, monkeypatch: pytest.MonkeyPatch, remove: str
) -> None:
    """Another process has the lock first."""
    machine = lifecycle.start(saved, persistent=True)
    machine.end()

    @contextmanager
    def locked(_name: str) -> Iterator[None]:
        (machine.folder / command_line.DISK).touch()
        Machine.start(saved.spec, saved.kernel, saved.accel, folder=machine.folder, persistent=True)
        yield

    monkeypatch.setattr(cache, "locked", locked)
    if remove == "end":
        lifecycle.end(machine)
    else:
        lifecycle.sweep()
    assert lifecycle.all_machines()
    assert (machine.folder / command_line.DISK).exists()


@pytest.mark.parametrize("name", ["guest", "guest.PID-1"])
def test_what_a_process_that_was_killed_left_before_qemu_ran_is_removed(
    saved: SavedState, name: str
) -> None:
    """It would have its saved state kept for ever."""
    name = name.replace("PID", str(os.getpid()))
    folder, foreign = cache.run_folder() / name, cache.run_folder() / "foreign"
    for made in (folder, foreign):
        made.mkdir()
    (folder / in_use.STARTED_FROM).symlink_to(saved.folder)
    lifecycle.sweep()
    assert folder.exists(), "it may be starting"
    for made in (folder, foreign):
        os.utime(made, (0, 0))
    lock = file_lock.hold(folder / qemu_process.LOCK)
    os.utime(folder, (0, 0))
    lifecycle.sweep()
    assert folder.exists(), "its lock is held"
    os.close(lock)
    lifecycle.sweep()
    assert not folder.exists()
    assert foreign.exists()


@pytest.mark.parametrize("persistent", [True, False])
def test_a_machine_that_is_about_to_start_holds_its_lock(
    saved: SavedState, monkeypatch: pytest.MonkeyPatch, persistent: bool
) -> None:
    held: list[bool] = []

    def make_overlay(disk: Path, *_: object) -> None:
        held.append(file_lock.is_held(disk.parent / qemu_process.LOCK))

    monkeypatch.setattr(qemu_process, "make_overlay", make_overlay)
    lifecycle.start(saved, persistent=persistent)
    assert held == [True]
