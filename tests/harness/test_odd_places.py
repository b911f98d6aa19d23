# SPDX-License-Identifier: GPL-2.0
"""Folders may have any printable name; journeys/test_odd_place.py makes an image in one, too."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import odd
import pytest

from pyharness import Guest
from pyharness.host import cache
from pyharness.interceptor import MODULE
from pyharness.machine import lifecycle, saved_states


@pytest.mark.alone
def test_a_guest_runs_in_an_odd_place(
    guest: Guest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cache, saved state, run folder, key and module: each there."""
    cache_folder, run, module = (tmp_path / kind / odd.NAME for kind in ("cache", "run", "module"))
    cache_folder.mkdir(parents=True)
    cache.folder().joinpath("modules").mkdir(exist_ok=True)
    for name in ("images", "ssh", "modules"):
        (cache_folder / name).symlink_to(cache.folder() / name)
    saved_state = cache_folder / "saved-states" / guest.qemu.saved_state.folder.name
    saved_state.mkdir(parents=True)
    for name in ("disk.qcow2", "state", "exports", "config", "saved-state.json"):
        (saved_state / name).symlink_to(guest.qemu.saved_state.folder / name)
    shutil.copytree(MODULE, module)
    monkeypatch.setenv("PYHARNESS_CACHE", str(cache_folder))
    monkeypatch.setenv("PYHARNESS_RUN", str(run))
    known = saved_states.read(saved_state)
    assert known

    def type_in(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "pyharness", *words],
            env=os.environ,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    machine = lifecycle.start(known, persistent=True)
    try:
        assert type_in("ssh", "--", "echo", "a", "b") == "a b\n"
        assert f"{cache_folder}/modules/" in type_in("build", "--module", str(module))
        type_in("suspend")
        assert "is up" in type_in("up")
        assert type_in("ssh", "--", "echo", "again") == "again\n"
    finally:
        type_in("down")
    assert not machine.alive
    assert list(run.iterdir()) == []
