# SPDX-License-Identifier: GPL-2.0
"""A state that can't be loaded or saved is an error that comes at once, and leaves nothing."""

import asyncio
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from pyharness import Guest, HostError
from pyharness.machine import lifecycle, state_file
from pyharness.machine.qemu_process import Machine

pytestmark = pytest.mark.alone

# Of the host's time, on a busy machine; a limit that is waited for is longer.
SECONDS = 30


def nothing(_state: Path) -> None:
    pass


def empty(state: Path) -> None:
    state.write_bytes(b"")


def garbage(state: Path) -> None:
    state.write_bytes(b"garbage\n" * 10_000)


def cut_off(state: Path) -> None:
    shutil.copy(state.readlink(), state.with_suffix(".whole"))
    os.truncate(state.with_suffix(".whole"), 1 << 20)
    state.unlink()
    state.with_suffix(".whole").rename(state)


@pytest.mark.parametrize("damage", [nothing, empty, garbage, cut_off])
def test_a_damaged_state(
    guest: Guest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    damage: Callable[[Path], None],
) -> None:
    monkeypatch.setenv("PYHARNESS_RUN", str(tmp_path / "run"))
    folder = tmp_path / "saved-state"
    folder.mkdir()
    (folder / "disk.qcow2").symlink_to(guest.qemu.saved_state.folder / "disk.qcow2")
    if damage is cut_off:
        (folder / "state").symlink_to(guest.qemu.saved_state.folder / "state")
    damage(folder / "state")
    begin = time.monotonic()
    with pytest.raises(HostError) as raised:
        lifecycle.start(replace(guest.qemu.saved_state, folder=folder))
    assert time.monotonic() - begin < SECONDS
    said = str(raised.value)
    assert said.startswith("QEMU can't go on from the saved state: ")
    assert said.endswith(f"is booted again: rm -r {folder}")
    # Others may boot guests meanwhile, to save their states.
    folders = [child.as_dict(["cwd"])["cwd"] or "" for child in psutil.Process().children()]
    assert not [folder for folder in folders if str(tmp_path) in folder]
    assert list((tmp_path / "run").iterdir()) == []


# In a mount namespace of its own: what is mounted there goes with its last process.
FULL = """
mount -t tmpfs -o size=64m none "$PYHARNESS_RUN" || exit 99
pyharness() { "$PYTHON" -m pyharness "$@"; }
pyharness up && pyharness suspend
echo "suspend: $?"
pyharness status
pyharness ssh -- echo alive
ls "$PYHARNESS_RUN"/*/
pyharness down
"""


def test_no_room_for_a_state(guest: Guest, tmp_path: Path) -> None:
    """The guest, which could not be suspended, goes on."""
    own = ["unshare", "--mount", *(["--map-root-user"] if os.geteuid() else [])]
    done = subprocess.run(
        [*own, "sh", "-c", FULL],
        env=os.environ | {"PYHARNESS_RUN": str(tmp_path), "PYTHON": sys.executable},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    name = guest.facts.name
    assert f"the state of {name} can't be saved in {tmp_path / name}: " in done.stdout, done.stdout
    assert "No space left on device: make room there\nsuspend: 3\n" in done.stdout
    assert " running " in done.stdout
    assert "\nalive\n" in done.stdout
    assert "state" not in done.stdout.split("alive\n")[1]
    assert f"ended {name}" in done.stdout


def give_up(_machine: Machine) -> None:
    raise HostError("made up")


def test_a_guest_whose_saving_was_cancelled_runs_on_and_can_be_saved(
    guest: Guest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYHARNESS_RUN", str(tmp_path / "run"))
    name = guest.facts.name
    with Guest.boot(name, persistent=True) as own:
        machine = own.qemu.machine
        own.run("touch /tmp/mark").check()
        with monkeypatch.context() as patched:
            patched.setattr(state_file, "_wait_saved", give_up)
            with pytest.raises(HostError, match="made up"):
                lifecycle.suspend(machine)
        assert machine.status() == "running"
        # One that goes on would stop the guest again when it is complete.
        assert machine.qmp("query-migrate")["status"] not in state_file._UNDER_WAY
        assert own.run("true").status == 0
        assert not list(machine.folder.glob("state*"))
    try:
        lifecycle.suspend(machine)
        assert lifecycle.state_of(name) == "suspended"
        with Guest.attach(name) as again:
            machine = again.qemu.machine
            again.run("test -e /tmp/mark").check()
    finally:
        lifecycle.end(machine)


def test_guests_are_booted_by_a_pool_of_threads_and_used_in_a_coroutine(guest: Guest) -> None:
    name = guest.facts.name
    with ThreadPoolExecutor(2) as pool:
        guests = list(pool.map(Guest.boot, [name, name]))

    async def use(one: Guest) -> str:
        assert one.qemu.machine.status() == "running"
        return one.run("echo alive").check().stdout

    try:
        assert [asyncio.run(use(one)) for one in guests] == ["alive\n"] * 2
    finally:
        for one in guests:
            one.close()


@pytest.mark.alone
@pytest.mark.test_limit(1800)
def test_a_guest_that_was_switched_off_boots(
    guest: Guest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may take as long as any boot, and has its disk."""
    monkeypatch.setenv("PYHARNESS_RUN", str(tmp_path))

    def type_in(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "pyharness", *words],
            env=os.environ | {"PYHARNESS_GUEST": guest.facts.name},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    type_in("up")
    try:
        type_in("ssh", "--", "touch /root/kept")
        type_in("halt")
        type_in("up")
        assert type_in("ssh", "--", "ls /root/kept") == "/root/kept\n"
    finally:
        type_in("down")
