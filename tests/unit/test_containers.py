# SPDX-License-Identifier: GPL-2.0
"""Containers that share a cache: each has process ids of its own, but the files are the same."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import stand_in
from click.testing import CliRunner

from pyharness.cli import cli
from pyharness.errors import UsageError
from pyharness.host import file_lock
from pyharness.machine import lifecycle, qemu_process
from pyharness.machine.qemu_process import Machine
from pyharness.machine.saved_states import SavedState

OTHER = [
    "unshare", "--pid", "--fork", "--mount-proc", "--kill-child",
    *(["--map-root-user"] if os.geteuid() else []),
]  # fmt: skip
# What runs in the other container. Its process ids begin at 1, so that most are also used here.
PROGRAM = f"""
import json
from pyharness.cli import main
from pyharness.errors import UsageError
from pyharness.machine import lifecycle
name = {stand_in.NAME!r}
try:
    found = str(lifecycle.running(name))
except UsageError as error:
    found = str(error)
states = [machine.status() for machine in lifecycle.all_machines()]
orphaned = [machine.orphaned for machine in lifecycle.all_machines()]
lifecycle.sweep()
print(json.dumps([lifecycle.state_of(name), found, states, orphaned]))
"""


@pytest.fixture(scope="module", autouse=True)
def _namespaces() -> None:
    if subprocess.run([*OTHER, "true"], capture_output=True, check=False).returncode:
        pytest.skip("PID namespaces can't be made here")


@pytest.fixture
def saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SavedState]:
    with stand_in.saved_state(tmp_path, monkeypatch, stand_in.IDLE) as state:
        yield state


def seen_by_another() -> tuple[str, str, list[str], list[bool]]:
    done = subprocess.run(
        [*OTHER, sys.executable, "-c", PROGRAM],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        check=True,
    )
    state, found, states, orphaned = json.loads(done.stdout)
    return state, found, states, orphaned


def test_machines_of_another_container_are_left_alone(saved: SavedState) -> None:
    machines = [lifecycle.start(saved, persistent=True), lifecycle.start(saved)]
    state, found, states, orphaned = seen_by_another()
    assert (state, states, orphaned) == ("running", ["elsewhere"] * 2, [False] * 2)
    assert found.startswith(f"{saved.spec.name} runs in another container or on another host: ")
    for machine in machines:
        assert machine.alive
        assert Machine.of(machine.folder) == machine


def test_what_a_container_that_has_ended_left_behind_is_removed(saved: SavedState) -> None:
    lasting, own = lifecycle.start(saved, persistent=True), lifecycle.start(saved)
    lasting.end()
    own.end()
    assert seen_by_another() == ("absent", "None", [], [])
    assert not lasting.folder.exists()
    assert not own.folder.exists()


def test_a_crashed_machine_stays_for_as_long_as_its_process(saved: SavedState) -> None:
    """Which reads the end of its console."""
    machine = lifecycle.start(saved)
    qemu_process._started[machine.pid].kill()
    qemu_process._started[machine.pid].wait()
    seen_by_another()
    assert machine.folder.exists()


def test_a_machine_of_another_container_can_not_be_ended(
    saved: SavedState, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = lifecycle.start(saved, persistent=True)
    with monkeypatch.context() as there:
        there.setattr(qemu_process, "pid_space", lambda: "another host:pid:[1]")
        with pytest.raises(UsageError, match=f"pyharness down {saved.spec.name} ends it there"):
            lifecycle.end(machine)
        with pytest.raises(lifecycle.RunsAlready):
            lifecycle.start(saved, persistent=True)
    assert machine.alive


def test_commands_about_all_guests_show_one_of_another_container(
    saved: SavedState, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But not how to connect to it, which is possible only there."""
    machine, name = lifecycle.start(saved, persistent=True), saved.spec.name
    monkeypatch.setattr(qemu_process, "pid_space", lambda: "another host:pid:[1]")

    def said_by(*words: str) -> str:
        done = CliRunner().invoke(cli, words, standalone_mode=False)
        assert (done.exception, done.return_value) == (None, None), done.output
        return done.stdout

    where = "in another container or on another host"
    (line,) = [line for line in said_by("list").splitlines() if line.split()[0] == name]
    assert line.endswith(f", runs {where}")
    assert said_by("status").split(maxsplit=2) == [name, "elsewhere", f"tcg  {where}\n"]
    (facts,) = json.loads(said_by("status", "--json"))
    assert (facts["state"], facts["elsewhere"]) == ("running", True)
    assert (facts["host"], facts["port"], facts["host_key"]) == (None, None, None)
    assert machine.alive


def test_no_two_processes_use_one_folder(
    saved: SavedState, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though they have the same id, in two containers."""
    first = lifecycle.start(saved)
    monkeypatch.setattr(lifecycle, "_count", iter([int(first.folder.name.rpartition("-")[2]), 99]))
    second = lifecycle.start(saved)
    assert second.folder.name.endswith("-99")
    assert first.alive


def test_a_lock_lasts_for_as_long_as_a_child_that_has_it(tmp_path: Path) -> None:
    file = tmp_path / "lock"
    assert not file_lock.is_held(file)
    lock = file_lock.hold(file)
    with subprocess.Popen(["sleep", "1000"], pass_fds=[lock]) as child:
        os.close(lock)
        assert file_lock.is_held(file)
        child.kill()
    assert not file_lock.is_held(file)
