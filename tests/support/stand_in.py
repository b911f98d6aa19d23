# SPDX-License-Identifier: GPL-2.0
"""A machine whose QEMU is a shell script, for tests that need no guest."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pyharness.host.programs import version_of
from pyharness.machine import accelerator, guest_specs, qemu_process, state_file
from pyharness.machine.image import Image
from pyharness.machine.qemu_process import Machine
from pyharness.machine.saved_states import SavedState

NAME = "bookworm-amd64"
# It begins as QEMU does: its monitor's socket exists. Then it does nothing.
IDLE = ": > qmp.sock; exec sleep 1000"
_SCRIPT = """#!/bin/sh
[ "$1" = --version ] && echo "QEMU emulator version 7.2.0" && exit
{}
"""


def loaded(_machine: Machine, *, fix: str, discard: Path | None = None) -> None:
    """Have loaded a state, in the place of state_file.wait_running()."""
    assert fix
    if discard:
        discard.unlink()


@contextmanager
def saved_state(folder: Path, monkeypatch: pytest.MonkeyPatch, qemu: str) -> Iterator[SavedState]:
    """A saved state, in a cache of its own, whose machines run a script; they end with the block.

    Args:
        folder: an empty folder, which becomes the cache.
        monkeypatch: restores what is changed.
        qemu: what the script does in the machine's folder.
    """
    spec = guest_specs.find(NAME)
    program = folder / "bin" / spec.qemu
    program.parent.mkdir()
    program.write_text(_SCRIPT.format(qemu), encoding="ascii")
    program.chmod(0o755)
    monkeypatch.setenv("PYHARNESS_CACHE", str(folder))
    monkeypatch.delenv("PYHARNESS_RUN", raising=False)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    monkeypatch.setattr(state_file, "wait_running", loaded)
    saved = folder / "saved-states" / f"{NAME}-{'0' * 12}"
    saved.mkdir(parents=True)
    (saved / "state").write_bytes(b"QEVM")
    qemu_process.make_overlay(saved / "disk.qcow2", Path("/dev/null"), "raw")
    image = Image(folder=saved, release="6.1", version="1", host_key="ssh-ed25519 made-up")
    version_of.cache_clear()
    try:
        yield SavedState(
            folder=saved,
            spec=spec,
            image=image,
            kernel=image.kernel,
            accel=accelerator.tcg("made up"),
            vermagic="6.1",
        )
    finally:
        for process in [*qemu_process._started.values()]:
            process.kill()
            process.wait()
        qemu_process._started.clear()
        for lock in qemu_process._locks.values():
            lock.close()
        qemu_process._locks.clear()
        version_of.cache_clear()
