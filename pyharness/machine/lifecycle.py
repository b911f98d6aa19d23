# SPDX-License-Identifier: GPL-2.0
"""The machines of this user: started from a saved state, suspended, switched off, found, ended.

run/bookworm-i386/                   a machine that runs: see qemu_process.Machine
    state          that is suspended: its memory and devices
    off            that was switched off: what is on its disk stays
run/bookworm-i386.4711-1/            one that ends with process 4711
"""

import itertools
import os
import shlex
import shutil
import time
from contextlib import nullcontext, suppress
from pathlib import Path

from pyharness.errors import GuestError, HostError, UsageError
from pyharness.host import cache
from pyharness.machine import (
    qemu_process,
    saved_states,
)
from pyharness.machine.qemu_process import Machine
from pyharness.machine.saved_states import STATE, SavedState
from pyharness.transport.ssh import Ssh

_OFF = "off"
_STARTED_FROM = "frozen"
_count = itertools.count(1)


class RunsAlready(UsageError):
    """A machine is to be started that runs."""


@cache.as_host_error()
def start(saved_state: SavedState, *, persistent: bool = False) -> Machine:
    """Start a machine from the saved state.

    Args:
        saved_state: what to start.
        persistent: it outlives this process and is the one that the command line uses.

    Raises:
        RunsAlready: the one that stays does.
    """
    name = (
        saved_state.spec.name
        if persistent
        else f"{saved_state.spec.name}.{os.getpid()}-{next(_count)}"
    )
    folder = cache.run_folder() / name
    # Nobody else starts one that this process alone uses.
    with cache.locked(f"run-{name}") if persistent else nullcontext():
        if (old := Machine.of(folder)) and old.alive:
            raise RunsAlready(f"{name} runs already: pyharness down ends it")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        try:
            (folder / _STARTED_FROM).symlink_to(saved_state.folder)
            qemu_process.make_overlay(
                folder / "disk.qcow2", saved_state.folder / "disk.qcow2", "qcow2"
            )
            fix = f"remove the state, and {saved_state.spec.name} is booted again:"
            return _start(
                saved_state,
                folder,
                persistent=persistent,
                saved=f"{_STARTED_FROM}/{STATE}",
                fix=f"{fix} rm -r {shlex.quote(str(saved_state.folder))}",
            )
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise


def _start(
    saved_state: SavedState, folder: Path, *, persistent: bool, saved: str | None, fix: str = ""
) -> Machine:
    """Start a machine in its folder, by a boot or from a state saved there; see wait_running()."""
    if saved and not qemu_process.is_state(folder / saved):
        raise HostError(f"QEMU can't go on from the saved state: {saved} is not whole: {fix}")
    machine = Machine.start(
        saved_state.spec,
        saved_state.image,
        saved_state.accel,
        folder=folder,
        persistent=persistent,
        incoming=saved,
    )
    try:
        if saved:
            machine.wait_running(fix=fix)
    except BaseException:
        machine.end()
        raise
    return machine


@cache.as_host_error()
def start_again(name: str) -> Machine:
    """Start the machine that stays, which is suspended or switched off, from its own disk."""
    folder = cache.run_folder() / name
    with cache.locked(f"run-{name}"):
        saved_state = saved_states.read((folder / _STARTED_FROM).resolve(), name)
        if saved_state is None:
            raise GuestError(f"what {name} was started from is gone: pyharness reset")
        saved = folder / STATE
        machine = _start(
            saved_state,
            folder,
            persistent=True,
            saved=STATE if saved.exists() else None,
            fix=f"pyharness reset --guest {name} starts it anew",
        )
        saved.unlink(missing_ok=True)
        (folder / _OFF).unlink(missing_ok=True)
    return machine


@cache.as_host_error()
def suspend(machine: Machine) -> None:
    """End a machine that stays such that it can go on where it was.

    Raises:
        HostError: its state can't be saved; it goes on.
    """
    try:
        machine.save(machine.folder / STATE)
    except HostError:
        machine.qmp("cont")
        raise
    machine.end()


def switch_off(machine: Machine, *, seconds: float) -> None:
    """End a machine that stays such that what is on its disk is there when it's started again.

    Its system is asked to; one that does not in time is cut off.
    """
    if machine.status() == "running":
        with suppress(GuestError):
            ssh = machine.ssh(saved_state_of(machine).image)
            ssh.connect(seconds)
            ssh.run("systemctl poweroff --no-block", seconds=seconds)
        end = time.monotonic() + seconds
        while machine.alive and time.monotonic() < end:
            time.sleep(0.1)
    machine.end()
    (machine.folder / _OFF).touch()


def state_of(name: str) -> str:
    """How the machine of that guest is that stays.

    Returns:
        ``absent``, ``running``, ``suspended``, ``off``, or ``crashed``: it has
        panicked, or its QEMU ended by itself.
    """
    folder = cache.run_folder() / name
    machine = Machine.of(folder)
    if machine is None:
        return "absent"
    if machine.alive:
        return "running" if machine.status() in ("running", "inmigrate") else "crashed"
    if (folder / STATE).exists():
        return "suspended"
    return "off" if (folder / _OFF).exists() else "crashed"


def settle(ssh: Ssh, *, seconds: float) -> None:
    """After a thaw: the host's clock, and randomness that no other thaw has."""
    ssh.run(
        f"date -s @{time.time():.3f} >/dev/null && cat > /dev/urandom",
        seconds=seconds,
        stdin=os.urandom(64),
    ).check()


def running(spec_name: str) -> Machine | None:
    """The machine of that guest that stays, if it runs; one that is being started is waited for."""
    machine = Machine.of(cache.run_folder() / spec_name)
    if machine and machine.alive:
        with cache.locked(f"run-{spec_name}"):  # the process that starts it holds that
            return machine if machine.alive else None
    return None


def all_machines() -> list[Machine]:
    """Every machine with a live QEMU, whoever started it."""
    folders = [*cache.run_folder().glob("*/"), *(cache.folder() / "frozen").glob(".*/")]
    found = (Machine.of(folder) for folder in sorted(folders))
    return [machine for machine in found if machine and machine.alive]


def find_persistent(name: str) -> Machine | None:
    """The machine of that guest that stays, whether it runs or not."""
    return Machine.of(cache.run_folder() / name)


def end(machine: Machine) -> None:
    """End a machine and remove what belongs to it."""
    machine.end()
    shutil.rmtree(machine.folder, ignore_errors=True)


def sweep() -> None:
    """Remove what machines left that have ended."""
    for folder in cache.run_folder().glob("*/"):
        machine = Machine.of(folder)
        if machine is None or machine.alive:
            continue
        kept = (folder / STATE).exists() or (folder / _OFF).exists()
        if machine.orphaned or (machine.owner is None and not kept):
            shutil.rmtree(folder, ignore_errors=True)


def saved_state_of(machine: Machine) -> SavedState:
    """What a machine was started from, which need not be what would be started now.

    Raises:
        GuestError: that is gone.
    """
    saved_state = saved_states.read((machine.folder / _STARTED_FROM).resolve(), machine.guest)
    if saved_state is None:
        raise GuestError(f"what {machine.guest} was started from is gone: pyharness reset")
    return saved_state
