# SPDX-License-Identifier: GPL-2.0
"""Saves a machine's memory and devices to a file, and resumes machines from one."""

import time
from contextlib import suppress
from pathlib import Path

from pyharness.errors import GuestError, HostError
from pyharness.host.cache import CACHE_VARIABLE, RUN_VARIABLE
from pyharness.host.cpu_time import Clock
from pyharness.machine.qemu_process import Machine

# Loading a state takes 1 to 3 s on an idle machine. Only time in which QEMU can run counts.
_LOAD_SECONDS = 60.0
# Saving lasts as long as the disk needs, but in this time QEMU can write something to any disk.
_STALLED_SECONDS = 60.0
# More than any disk can write (bytes/s). QEMU's own limit is that of a network.
_BANDWIDTH = 1 << 40
# The states of a migration that has not ended.
_UNDER_WAY = ("setup", "active", "device", "cancelling")
# The run states of a guest that can be resumed, and all those in which one may have been saved.
_STOPPED = ("paused", "io-error")
_LOADED = (*_STOPPED, "running", "guest-panicked")
# The name of a state that is being saved.
_SAVING = "state.new"
# The name of a state that QEMU has loaded, until the guest runs on.
_USED = "state.loaded"
# How much is written to a file to see whether it can grow (bytes).
_GROWN = 1 << 20
_STATE_BEGIN = b"QEVM"


def is_state(file: Path) -> bool:
    """Whether a file begins like a machine's saved state; QEMU 7.2 reads an empty one for ever."""
    try:
        with file.open("rb") as state:
            return state.read(len(_STATE_BEGIN)) == _STATE_BEGIN
    except FileNotFoundError:
        return False


def save(machine: Machine, state: Path) -> None:
    """Stop a machine, and save its state to a file. It can't go on after that.

    If an exception is raised, there is no such file, and a guest that ran before runs on.

    Args:
        machine: the machine.
        state: the file, which must be in the machine's folder.

    Raises:
        HostError: the state could not be written.
        GuestError: QEMU is gone, or refuses to save the machine.
        GuestTimeout: QEMU does not answer.
    """
    # The file has another name until it is complete. A shell reads that name.
    saving = machine.folder / _SAVING
    with machine.resumed_on_error():
        try:
            machine.qmp(
                "stop",
                ("migrate-set-parameters", {"max-bandwidth": _BANDWIDTH}),
                ("migrate", {"uri": f"exec:cat > {_SAVING}"}),
            )
            _wait_saved(machine)
            saving.rename(state)
        except BaseException:
            with suppress(GuestError):
                _cancel(machine)
            saving.unlink(missing_ok=True)
            raise


def _wait_saved(machine: Machine) -> None:
    """Wait until QEMU has written a machine's state to the file that is being saved."""
    failed = f"the state of {machine.guest} can't be saved in {machine.folder}"
    elsewhere = f"name folders on another disk in {CACHE_VARIABLE} and {RUN_VARIABLE}"
    clock = Clock(machine.pid)
    written, since = 0, 0.0
    while (progress := machine.qmp("query-migrate")).get("status") != "completed":
        if progress.get("status") not in _UNDER_WAY:
            if refused := _refusal(machine.folder / _SAVING):
                raise HostError(f"{failed}: {refused}: make room there")
            raise HostError(f"{failed}: {progress.get('error-desc', 'QEMU failed')}: {elsewhere}")
        if (now := progress.get("ram", {}).get("transferred", 0)) != written:
            written, since = now, clock()
        elif clock() - since > _STALLED_SECONDS:
            raise HostError(
                f"{failed}: nothing was written for {_STALLED_SECONDS:.0f} s: {elsewhere}"
            )
        time.sleep(0.05)


def _cancel(machine: Machine) -> None:
    """End the saving of a state, if it is under way: QEMU stops the guest when it completes."""
    machine.qmp("migrate_cancel")
    clock = Clock(machine.pid)
    while machine.qmp("query-migrate").get("status") in _UNDER_WAY and clock() < _STALLED_SECONDS:
        time.sleep(0.05)


def _refusal(file: Path) -> str:
    """Why a file can't grow; empty if it can.

    QEMU does not report the error of the command through which it writes the file.
    """
    try:
        with file.open("ab") as grown:
            grown.write(bytes(_GROWN))
    except OSError as error:
        return error.strerror or str(error)
    return ""


def wait_running(machine: Machine, *, fix: str, discard: Path | None = None) -> None:
    """Wait until QEMU has loaded a saved state, and resume the guest from it.

    A guest that had crashed when it was saved is not resumed, and one may be stopped again at
    once, as by a full disk. Whoever uses the guest reports that.

    Args:
        machine: the machine, which was started from the state.
        fix: what to do if QEMU can't load the state, for the error message.
        discard: the state's file, if it is to be removed: with the disk of a guest that has run
            since, the state can't be used again.

    Raises:
        HostError: QEMU can't load the state.
        GuestError: QEMU is gone, or does not answer. If the file is no longer there, finish() may
            be called later.
    """
    clock = Clock(machine.pid)
    while (status := _loading(machine)) not in _LOADED:
        if status in ("ended", "failed") or clock() > _LOAD_SECONDS:
            said = machine.printed() or f"it is {status}"
            raise HostError(f"QEMU can't go on from the saved state: {said}: {fix}")
        time.sleep(0.02)
    if discard:
        discard.rename(machine.folder / _USED)
    if status in _STOPPED:
        machine.qmp("cont")
    if discard:
        (machine.folder / _USED).unlink()


def finish(machine: Machine) -> None:
    """Resume a guest whose process was killed, or had no answer, after the state was loaded.

    The caller holds the machine's lock.

    Raises:
        GuestError: QEMU is gone, or does not answer.
    """
    if (machine.folder / _USED).exists():
        if machine.status() in _STOPPED:
            machine.qmp("cont")
        (machine.folder / _USED).unlink()


def _loading(machine: Machine) -> str:
    """QEMU's run state while it loads a saved state.

    It is ``failed`` or ``ended`` if QEMU can't load the state, and ``silent`` if QEMU does not
    answer.
    """
    try:
        if (status := machine.status()) == "inmigrate":
            loading = str(machine.qmp("query-migrate").get("status"))
            return "failed" if loading == "failed" else status
    except GuestError:  # QEMU may be about to end
        return "silent" if machine.alive else "ended"
    return status
