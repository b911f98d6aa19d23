# SPDX-License-Identifier: GPL-2.0
"""Snapshots may take long, and a guest runs on if one fails. QEMU's monitor is made up."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import fake_monitor
import pytest
from fake_monitor import Monitor, Refused

from pyharness.errors import GuestError, GuestTimeout
from pyharness.machine import qemu_process, snapshots

LIST = """List of snapshots present on all disks:
ID        TAG               VM SIZE                DATE     VM CLOCK     ICOUNT
--        one               100 MiB 2024-01-01 00:00:00 00:01:00.000
"""


class Snapshots:
    """QEMU's commands for snapshots, each of which stops the guest and fails or takes a while."""

    def __init__(self, error: str, seconds: float = 0.0) -> None:
        self.monitor = Monitor({"human-monitor-command": self.carry_out})
        self._error = error
        self._seconds = seconds

    def carry_out(self, arguments: Mapping[str, Any]) -> str:
        if arguments["command-line"] == "info snapshots":
            return LIST
        self.monitor.status = "paused"
        time.sleep(self._seconds)
        if self._error == "refused":
            raise Refused("no")
        return self._error


@pytest.mark.parametrize("work", [snapshots.save, snapshots.restore])
@pytest.mark.parametrize("error", ["Error: no such device", "refused"])
def test_a_guest_whose_snapshot_fails_runs_on(tmp_path: Path, work: Any, error: str) -> None:
    with fake_monitor.machine(tmp_path, Snapshots(error).monitor) as machine:
        with pytest.raises(GuestError):
            work(machine, "one")
        assert machine.status() == "running"


def test_a_snapshot_may_take_longer_than_another_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert snapshots._SECONDS >= 10 * qemu_process._QMP_SECONDS
    with fake_monitor.machine(tmp_path, Snapshots("", seconds=0.5).monitor) as machine:
        snapshots.save(machine, "one")
        monkeypatch.setattr(snapshots, "_SECONDS", 0.1)
        with pytest.raises(GuestTimeout):
            snapshots.save(machine, "one")


def test_a_guest_runs_on_after_a_snapshot_that_took_too_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshots, "_SECONDS", 0.1)
    with fake_monitor.machine(tmp_path, Snapshots("", seconds=0.5).monitor) as machine:
        with pytest.raises(GuestTimeout):
            snapshots.restore(machine, "one")
        assert machine.status() == "running"


def test_a_guest_that_had_crashed_stays_so(tmp_path: Path) -> None:
    made_up = Snapshots("Error: no such device")
    made_up.monitor.status = "guest-panicked"
    with fake_monitor.machine(tmp_path, made_up.monitor) as machine, pytest.raises(GuestError):
        snapshots.restore(machine, "one")
    assert "cont" not in made_up.monitor.asked
