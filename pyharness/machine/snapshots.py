# SPDX-License-Identifier: GPL-2.0
"""Snapshots of a running machine, by name, kept in its own disk."""

import re

from pyharness.errors import UsageError
from pyharness.host import cache
from pyharness.machine import lifecycle, saved_with
from pyharness.machine.qemu_process import Machine

_NAME = re.compile(r"[A-Za-z][\w.-]*")
# QEMU stops the guest, and answers nothing, until it has written or read the guest's memory. In
# this time a disk that takes 7 MiB/s writes 4 GiB.
_SECONDS = 600.0
_LINE = re.compile(r"^\S+\s+(\S+)\s+\d", re.MULTILINE)


def names(machine: Machine) -> list[str]:
    """The names of a machine's snapshots, the oldest first."""
    return parse(machine.monitor("info snapshots"))


def parse(said: str) -> list[str]:
    """The names in the output of QEMU's command ``info snapshots``. Pure."""
    return _LINE.findall(said)


def save(machine: Machine, name: str) -> None:
    """Take a snapshot of a machine; one of the same name is replaced.

    Raises:
        UsageError: the name does not begin with a letter, or has other characters than letters,
            digits, ``_``, ``.`` and ``-``; or gdb debugs the guest.
        HostError: the machine's folder can't be written.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} is not a name for a snapshot: write a letter, then letters, digits, and"
            " _ . -"
        )
    machine.check_no_gdb()
    with cache.as_host_error():
        saved_with.note(machine, name)
    with machine.resumed_on_error():
        machine.monitor(f"savevm {name}", seconds=_SECONDS)


def restore(machine: Machine, name: str) -> None:
    """Return a machine to a snapshot, and wait until the guest answers by SSH.

    Raises:
        UsageError: there is no snapshot of that name; the message lists those that exist. Or gdb
            debugs the guest.
        HostError: the snapshot was taken with another CPU or QEMU.
    """
    _find(machine, name)
    machine.check_no_gdb()
    saved_with.check(
        machine.folder,
        name,
        saved_with.running(machine),
        what=f"the snapshot {name!r} of {machine.guest}",
        again="restore",
        fix="take another snapshot here",
    )
    with machine.resumed_on_error():
        machine.monitor(f"loadvm {name}", seconds=_SECONDS)
    machine.qmp("cont")
    saved_state = lifecycle.saved_state_of(machine)
    ssh = machine.ssh(saved_state.image)
    ssh.connect(30 * saved_state.accel.timeout_factor)
    lifecycle.settle(ssh, seconds=30 * saved_state.accel.timeout_factor)
    ssh.close()


def delete(machine: Machine, name: str) -> None:
    """Delete a snapshot of a machine.

    Raises:
        UsageError: there is no snapshot of that name; the message lists those that exist.
    """
    _find(machine, name)
    machine.monitor(f"delvm {name}", seconds=_SECONDS)


def _find(machine: Machine, name: str) -> None:
    if name not in (known := names(machine)):
        raise UsageError(f"there is no snapshot {name!r}; there are: {', '.join(known) or 'none'}")


COMMANDS = {"save": save, "restore": restore, "delete": delete}
