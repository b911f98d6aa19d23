# SPDX-License-Identifier: GPL-2.0
"""A guest whose state can't be saved runs on. QEMU's monitor is made up."""

from collections.abc import Iterator, Mapping
from itertools import chain, count, repeat
from pathlib import Path
from typing import Any

import fake_monitor
import pytest
from fake_monitor import Monitor, Refused

from pyharness.errors import GuestError, HostError
from pyharness.host import cache
from pyharness.machine import lifecycle, state_file
from pyharness.machine.qemu_process import Machine

RUN = "made-up"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a persistent machine."""
    monkeypatch.setenv("PYHARNESS_CACHE", str(tmp_path))
    monkeypatch.delenv("PYHARNESS_RUN", raising=False)
    made = cache.run_folder() / RUN
    made.mkdir()
    return made


class Migration:
    """A migration that a monitor carries out; its progress is a series of answers."""

    def __init__(self, folder: Path, progress: Iterator[dict[str, Any]]) -> None:
        self.file = folder / "state.new"
        self._progress = progress
        self._cancelled = False

    def begin(self, _arguments: Mapping[str, Any]) -> object:
        self.file.write_bytes(b"QEVM")
        return {}

    def look(self, _arguments: Mapping[str, Any]) -> object:
        return {"status": "cancelled"} if self._cancelled else next(self._progress)

    def cancel(self, _arguments: Mapping[str, Any]) -> object:
        self._cancelled = True
        return {}

    def monitor(self) -> Monitor:
        return Monitor(
            {"migrate": self.begin, "query-migrate": self.look, "migrate_cancel": self.cancel}
        )


def active(transferred: int) -> dict[str, Any]:
    return {"status": "active", "ram": {"transferred": transferred}}


COMPLETED = {"status": "completed"}


@pytest.fixture
def quick_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have 20 seconds pass each time that somebody looks."""

    class Quick:
        def __init__(self, _pid: int) -> None:
            self._seconds = count(step=20)

        def __call__(self) -> float:
            return next(self._seconds)

    monkeypatch.setattr(state_file, "Clock", Quick)


def test_a_state_is_saved_as_fast_as_the_disk_takes_it(folder: Path) -> None:
    said: list[Mapping[str, Any]] = []
    migration = Migration(folder, chain([active(1)], repeat(COMPLETED)))
    monitor = migration.monitor()
    monitor.answers = {**monitor.answers, "migrate-set-parameters": said.append}
    with fake_monitor.machine(folder, monitor) as machine:
        state_file.save(machine, folder / "state")
    assert (folder / "state").read_bytes() == b"QEVM"
    assert monitor.status == "paused"
    assert said[0]["max-bandwidth"] > 1e12
    assert monitor.asked.index("migrate-set-parameters") < monitor.asked.index("migrate")


@pytest.mark.usefixtures("quick_clock")
def test_a_state_may_take_long_as_long_as_it_grows(folder: Path) -> None:
    migration = Migration(folder, chain(map(active, range(1, 20)), repeat(COMPLETED)))
    with fake_monitor.machine(folder, migration.monitor()) as machine:
        state_file.save(machine, folder / "state")
    assert (folder / "state").exists()


@pytest.mark.usefixtures("quick_clock")
def test_saving_that_stalls_is_cancelled_and_the_guest_runs_on(folder: Path) -> None:
    monitor = Migration(folder, repeat(active(5))).monitor()
    with fake_monitor.machine(folder, monitor) as machine:
        with pytest.raises(HostError, match="nothing was written for 60 s: name folders on anoth"):
            lifecycle.suspend(machine)
        assert machine.status() == "running"
    assert monitor.asked.index("migrate_cancel") < monitor.asked.index("cont")
    assert not (folder / "state.new").exists()
    assert not (folder / "state").exists()


def test_a_failure_has_qemus_reason(folder: Path) -> None:
    failed = {"status": "failed", "error-desc": "Unable to write to command"}
    with fake_monitor.machine(folder, Migration(folder, repeat(failed)).monitor()) as machine:
        with pytest.raises(HostError, match="Unable to write to command: name folders on another"):
            lifecycle.suspend(machine)
        assert machine.status() == "running"
    assert not (folder / "state.new").exists()


def refuse(_arguments: Mapping[str, Any]) -> object:
    raise Refused("Migration is disabled when VirtFS export path '/x' is mounted in the guest")


@pytest.mark.parametrize("command", ["migrate", "migrate-set-parameters", "query-migrate"])
def test_a_guest_whose_saving_is_refused_runs_on(folder: Path, command: str) -> None:
    migration = Migration(folder, repeat(COMPLETED))
    monitor = migration.monitor()
    monitor.answers = {**monitor.answers, command: refuse}
    with fake_monitor.machine(folder, monitor) as machine:
        with pytest.raises(GuestError, match="refuses a command: Migration is disabled"):
            lifecycle.suspend(machine)
        assert machine.status() == "running"
    assert not (folder / "state.new").exists()


def test_a_guest_runs_on_after_an_interruption(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_machine: Machine) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(state_file, "_wait_saved", interrupt)
    monitor = Migration(folder, repeat(active(1))).monitor()
    with fake_monitor.machine(folder, monitor) as machine:
        with pytest.raises(KeyboardInterrupt):
            lifecycle.suspend(machine)
        assert machine.status() == "running"
    assert monitor.asked.index("migrate_cancel") < monitor.asked.index("cont")


def test_a_guest_that_was_stopped_before_stays_so(folder: Path) -> None:
    monitor = Monitor({"migrate": refuse})
    monitor.status = "guest-panicked"
    with fake_monitor.machine(folder, monitor) as machine, pytest.raises(GuestError):
        lifecycle.suspend(machine)
    assert "cont" not in monitor.asked


@pytest.mark.usefixtures("quick_clock")
@pytest.mark.parametrize(
    ("loaded", "then", "asked"),
    [
        ("paused", "running", ["cont"]),
        ("paused", "io-error", ["cont"]),
        ("paused", "guest-panicked", ["cont"]),
        ("io-error", "running", ["cont"]),  # there may be room meanwhile
        ("guest-panicked", "guest-panicked", []),
    ],
)
def test_a_guest_is_resumed_though_something_stops_it(
    folder: Path, loaded: str, then: str, asked: list[str]
) -> None:
    """Who uses the guest reports what has stopped it; its state is not at fault."""

    def go_on(_arguments: Mapping[str, Any]) -> object:
        monitor.status = then
        return {}

    monitor = Monitor({"cont": go_on})
    monitor.status = loaded
    with fake_monitor.machine(folder, monitor) as machine:
        state_file.wait_running(machine, fix="")
    assert (monitor.status, monitor.asked) == (then, asked)


def test_a_state_is_not_loaded_again_once_the_guest_has_run(folder: Path) -> None:
    """Its disk is newer from then on, whatever ends this process."""
    state = folder / "state"
    state.touch()
    left: list[bool] = []
    monitor = Monitor({"cont": lambda _arguments: left.append(state.exists())})
    monitor.status = "paused"
    with fake_monitor.machine(folder, monitor) as machine:
        state_file.wait_running(machine, fix="", discard=state)
    assert left == [False]


def test_a_state_that_could_not_be_loaded_is_kept(folder: Path) -> None:
    state = folder / "state"
    state.touch()
    monitor = Monitor({"query-migrate": lambda _arguments: {"status": "failed"}})
    monitor.status = "inmigrate"
    with (
        fake_monitor.machine(folder, monitor) as machine,
        pytest.raises(HostError, match="QEMU can't go on from the saved state"),
    ):
        state_file.wait_running(machine, fix="", discard=state)
    assert state.exists()
