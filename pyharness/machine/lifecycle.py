# SPDX-License-Identifier: GPL-2.0
"""Start, suspend, switch off, find and end the machines of this user.

run/bookworm-i386/                   a persistent machine: see qemu_process.Machine
    started-from      a link to the saved state that it was started from
    started-from.id   the uuid of that state
    state             its memory and devices, while it is suspended
    state.loaded      the same while QEMU has loaded it, and the guest does not run on yet
    saved-with.json   the CPU and the QEMU with which these, and its snapshots, were saved
    off               a mark that it was switched off; its disk is kept
run/bookworm-i386.4711-1/            a machine that ends with process 4711
"""

import itertools
import os
import re
import shlex
import shutil
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path

from pyharness.errors import GuestError, HostError, UsageError
from pyharness.host import atomic, cache, file_lock
from pyharness.host.cpu_time import Clock
from pyharness.machine import command_line, qemu_process, saved_states, saved_with, state_file
from pyharness.machine.in_use import STARTED_FROM
from pyharness.machine.qemu_process import Machine
from pyharness.machine.saved_states import STATE, SavedState
from pyharness.transport.ssh import Ssh

_OFF = "off"
_STARTED_FROM_ID = "started-from.id"
_RUNS = ("running", "inmigrate", qemu_process.DEBUGGED, qemu_process.ELSEWHERE)
# The name of the folder of a machine that ends with its process.
_OF_A_PROCESS = re.compile(r".+\.\d+-\d+")
# How long a process needs at most to start QEMU after it has made the disk, which takes
# milliseconds.
_START_SECONDS = 60.0
_count = itertools.count(1)


class RunsAlready(UsageError):
    """The machine that is to be started is running."""


@cache.as_host_error()
def start(saved_state: SavedState, *, persistent: bool = False) -> Machine:
    """Start a machine from a saved state.

    Args:
        saved_state: the state to start from.
        persistent: whether the machine outlives this process, and is the one of its guest that
            the command line uses.

    Raises:
        RunsAlready: the guest's persistent machine is running.
        UsageError: it is suspended or off.
        HostError: QEMU does not start, or can't load the state.
    """
    name = saved_state.spec.name
    # A machine that is not persistent needs no lock: only this process uses its folder.
    with cache.locked(f"run-{name}") if persistent else nullcontext():
        folder = _folder_of_persistent(name) if persistent else _new_folder(name)
        try:
            _prepare(folder, saved_state)
            fix = f"remove the state, and {saved_state.spec.name} is booted again:"
            return _start(
                saved_state,
                folder,
                persistent=persistent,
                saved=f"{STARTED_FROM}/{STATE}",
                fix=f"{fix} rm -r {shlex.quote(str(saved_state.folder))}",
            )
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise


def _folder_of_persistent(name: str) -> Path:
    """Empty the folder of a guest's persistent machine, whose state is lost, if there is one.

    Raises:
        RunsAlready: it runs.
        UsageError: it is suspended or off.
    """
    folder = cache.run_folder() / name
    _check_has_ended(name)
    if (state := state_of(name)) in ("suspended", "off"):
        raise UsageError(
            f"{name} is {state}: pyharness up {name} starts it again, pyharness down {name}"
            " discards it"
        )
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder


def _check_has_ended(name: str) -> None:
    """Check that a guest has no persistent machine that runs.

    Raises:
        RunsAlready: it has.
    """
    if (machine := find_persistent(name)) and machine.alive:
        raise RunsAlready(f"{name} runs already: pyharness down {name} ends it")


def _new_folder(name: str) -> Path:
    """Make the folder of a machine that ends with this process.

    A process with the same id may have such a folder, too: in another container, or on another
    host.
    """
    while True:
        folder = cache.run_folder() / f"{name}.{os.getpid()}-{next(_count)}"
        with suppress(FileExistsError):
            folder.mkdir()
            return folder


def _prepare(folder: Path, saved_state: SavedState) -> None:
    """Give a machine a disk of its own; its lock shows meanwhile that somebody starts it."""
    lock = file_lock.hold(folder / qemu_process.LOCK)
    try:
        (folder / STARTED_FROM).symlink_to(saved_state.folder)
        atomic.write_text(folder / _STARTED_FROM_ID, saved_state.uuid)
        qemu_process.make_overlay(
            folder / command_line.DISK, saved_state.folder / command_line.DISK, "qcow2"
        )
    finally:
        os.close(lock)


def _start(
    saved_state: SavedState, folder: Path, *, persistent: bool, saved: str | None, fix: str = ""
) -> Machine:
    """Start a machine in its folder: resume it from a state, or boot it.

    Args:
        saved_state: the state that the machine was first started from.
        folder: the machine's folder.
        persistent: whether the machine outlives this process.
        saved: the path of the state to resume from, relative to the folder; None to boot. The
            machine's own state is removed when it is loaded.
        fix: what to do if QEMU can't load the state, for the error message.
    """
    if saved and not state_file.is_state(folder / saved):
        raise HostError(f"QEMU can't go on from the saved state: {saved} is not whole: {fix}")
    machine = Machine.start(
        saved_state.spec,
        saved_state.kernel,
        saved_state.accel,
        folder=folder,
        persistent=persistent,
        incoming=saved,
    )
    own = folder / STATE if saved == STATE else None
    try:
        if saved:
            state_file.wait_running(machine, fix=fix, discard=own)
    except BaseException:
        if own is None or own.exists():  # else the guest's memory is nowhere but in QEMU
            machine.end()
        raise
    return machine


@cache.as_host_error()
def start_again(name: str) -> Machine:
    """Start a persistent machine that is suspended or switched off, from its own disk.

    Args:
        name: the guest's name.

    Raises:
        RunsAlready: it runs; another process may have started it meanwhile.
        GuestError: the saved state that the machine was first started from is gone.
        HostError: QEMU does not start, or can't load the machine's state, as it was saved with
            another CPU or QEMU.
    """
    folder = cache.run_folder() / name
    with cache.locked(f"run-{name}"):
        _check_has_ended(name)
        saved_state = _saved_state_in(folder, name)
        saved = (folder / STATE).exists()
        fix = (
            f"pyharness halt {name} gives up its memory, and keeps its disk, or"
            f" pyharness reset {name} starts it anew"
        )
        if saved:
            here = saved_with.installed(saved_state.spec.qemu, saved_state.accel.name)
            what = f"the memory of {name}"
            saved_with.check(folder, saved_with.SUSPENDED, here, what=what, again="resume", fix=fix)
        machine = _start(
            saved_state, folder, persistent=True, saved=STATE if saved else None, fix=fix
        )
        (folder / _OFF).unlink(missing_ok=True)
    return machine


@cache.as_host_error()
def suspend(machine: Machine) -> None:
    """Save the state of a persistent machine, and end it; start_again() resumes it.

    Raises:
        UsageError: gdb debugs the guest, or another process has ended it meanwhile.
        HostError: the state can't be saved; the machine keeps running.
        GuestError: QEMU refuses to save it, or does not answer; the guest keeps running if QEMU
            does.
    """
    machine.check_no_gdb()
    with _held(machine):
        saved_with.note(machine, saved_with.SUSPENDED)
        state_file.save(machine, machine.folder / STATE)
        machine.end()


@cache.as_host_error()
def switch_off(machine: Machine, *, seconds: float) -> None:
    """Shut a persistent machine down; start_again() boots it from the same disk.

    The guest's system is asked to power off. If it does not in time, QEMU is killed.

    Args:
        machine: the machine.
        seconds: the time limit for the SSH connection, for the request, and for the shutdown.

    Raises:
        UsageError: gdb debugs the guest, or another process has ended it meanwhile.
    """
    machine.check_no_gdb()
    with _held(machine):
        (machine.folder / STATE).unlink(missing_ok=True)  # an earlier version may have left it
        runs = machine.status() == "running"
        # From now on the guest may power off whatever happens to this process. While it runs, the
        # mark has no effect.
        (machine.folder / _OFF).touch()
        if runs:
            _power_off(machine, seconds=seconds)
        machine.end()


@cache.as_host_error()
def discard_memory(name: str) -> None:
    """Have a persistent machine that is suspended be one that is switched off.

    Raises:
        UsageError: it is not suspended any more.
    """
    folder = cache.run_folder() / name
    with cache.locked(f"run-{name}"):
        if (state := state_of(name)) != "suspended":
            raise UsageError(f"{name} is {state} by now: pyharness status {name} shows more")
        (folder / _OFF).touch()
        (folder / STATE).unlink()


@contextmanager
def _held(machine: Machine) -> Iterator[None]:
    """Hold the lock of a persistent machine, which runs then.

    Raises:
        UsageError: another process has ended it, and may have started it anew.
    """
    with cache.locked(f"run-{machine.folder.name}"):
        if Machine.of(machine.folder) != machine or not machine.alive:
            name = machine.guest
            raise UsageError(
                f"another process has ended {name} meanwhile: pyharness status {name} shows its"
                " state"
            )
        yield


def _power_off(machine: Machine, *, seconds: float) -> None:
    """Have a guest that runs shut down, and wait for that."""
    with suppress(GuestError):
        ssh = machine.ssh(saved_state_of(machine).image)
        ssh.connect(seconds)
        ssh.run("systemctl poweroff --no-block", seconds=seconds)
    clock = Clock(machine.pid)
    while machine.alive and clock() < seconds:
        time.sleep(0.1)


def state_of(name: str) -> str:
    """The state of a guest's persistent machine.

    Returns:
        ``absent``, ``running``, ``suspended``, ``off``, or ``crashed``: the guest has stopped,
        as after a panic, or its QEMU ended by itself.
    """
    folder = cache.run_folder() / name
    machine = Machine.of(folder)
    if machine is None:
        return "absent"
    if machine.alive:
        runs = machine.status() in _RUNS
        return "running" if runs else "crashed"
    if (folder / STATE).exists():
        return "suspended"
    return "off" if (folder / _OFF).exists() else "crashed"


def settle(ssh: Ssh, *, seconds: float) -> None:
    """Set the clock of a guest that was resumed, and add randomness that no other guest has.

    Args:
        ssh: a connection to the guest.
        seconds: the time limit.

    Raises:
        CheckFailed: the guest can't do so.
        GuestTimeout: the guest does not answer in time.
        GuestError: the connection is lost.
    """
    ssh.run(
        f"date -s @{time.time():.3f} >/dev/null && cat > /dev/urandom",
        seconds=seconds,
        stdin=os.urandom(64),
    ).check()


def running(spec_name: str) -> Machine | None:
    """The persistent machine of a guest; None if it does not run.

    If another process is starting the machine, wait until that is done. If that process was
    killed after it had loaded the guest's memory, the guest is resumed.

    Raises:
        UsageError: it runs in another container or on another host.
        GuestError: QEMU is gone, or does not answer.
    """
    machine = Machine.of(cache.run_folder() / spec_name)
    if machine and machine.alive:
        machine.check_here()
        with cache.locked(f"run-{spec_name}"):  # held by the process that starts it
            if machine.alive:
                state_file.finish(machine)
                return machine
    return None


def all_machines() -> list[Machine]:
    """All machines in the user's folders whose QEMU runs, whichever process started them."""
    folders = [*cache.run_folder().glob("*/"), *saved_states.all_folder().glob(".*/")]
    found = (Machine.of(folder) for folder in sorted(folders))
    return [machine for machine in found if machine and machine.alive]


def find_persistent(name: str) -> Machine | None:
    """The persistent machine of a guest, running or not; None if there is none."""
    return Machine.of(cache.run_folder() / name)


def end(machine: Machine) -> None:
    """End a machine, and remove its folder unless another process has started it again."""
    machine.end()
    with _locked(machine.folder, machine):
        now = Machine.of(machine.folder)
        if now is None or not now.alive:
            shutil.rmtree(machine.folder, ignore_errors=True)


def sweep() -> None:
    """Remove the folders of machines that have ended, or whose start was interrupted.

    A persistent machine that is suspended or switched off is kept, and so is the folder of any
    other machine for as long as the process that it belongs to lives.
    """
    for folder in cache.run_folder().glob("*/"):
        if _is_left(folder):
            with _locked(folder, Machine.of(folder)):
                if _is_left(folder):  # not used by the process that had the lock
                    shutil.rmtree(folder, ignore_errors=True)


def _locked(folder: Path, machine: Machine | None) -> AbstractContextManager[None]:
    """Hold the lock of a persistent machine; one that ends with its process has none.

    Args:
        folder: the machine's folder.
        machine: the machine; None if its start was interrupted, so that only the folder's name
            shows which of the two it was to be.
    """
    ends = machine.owner is not None if machine else _OF_A_PROCESS.fullmatch(folder.name)
    return nullcontext() if ends else cache.locked(f"run-{folder.name}")


def _is_left(folder: Path) -> bool:
    """Whether a folder is that of a machine which nobody uses any more."""
    if (folder / STATE).exists() or (folder / _OFF).exists():
        return False
    if machine := Machine.of(folder):
        return not machine.alive and (machine.owner is None or machine.orphaned)
    if not (folder / STARTED_FROM).is_symlink() or file_lock.is_held(folder / qemu_process.LOCK):
        return False  # it is somebody else's, or a process makes the machine's disk
    with suppress(FileNotFoundError):  # another process removes it
        return time.time() - folder.stat().st_mtime > _START_SECONDS
    return False


def saved_state_of(machine: Machine) -> SavedState:
    """The saved state that a machine was started from; the guest's current one may differ.

    Raises:
        GuestError: that state is gone.
    """
    return _saved_state_in(machine.folder, machine.guest)


def _saved_state_in(folder: Path, name: str) -> SavedState:
    """The saved state that the machine in a folder was started from."""
    saved_state = saved_states.read((folder / STARTED_FROM).resolve())
    if saved_state is None or saved_state.uuid != _started_from_id(folder):
        raise GuestError(
            f"the saved state that {name} was started from no longer exists:"
            f" pyharness reset {name} starts it anew"
        )
    return saved_state


def _started_from_id(folder: Path) -> str:
    """The uuid of the saved state that the machine in a folder was started from."""
    try:
        return (folder / _STARTED_FROM_ID).read_text(encoding="ascii")
    except FileNotFoundError:  # an earlier version has started it
        return ""
