# SPDX-License-Identifier: GPL-2.0
"""States of a running machine, by name, kept in its own disk."""

import re

from pyharness.errors import UsageError
from pyharness.machine import lifecycle
from pyharness.machine.qemu_process import Machine

_NAME = re.compile(r"[A-Za-z][\w.-]*")
_LINE = re.compile(r"^\S+\s+(\S+)\s+\d", re.MULTILINE)


def names(machine: Machine) -> list[str]:
    """The snapshots of a machine, the oldest first."""
    return parse(machine.monitor("info snapshots"))


def parse(said: str) -> list[str]:
    """The names in what QEMU prints of its snapshots. Pure."""
    return _LINE.findall(said)


def save(machine: Machine, name: str) -> None:
    """Take a machine's state; one that has the name is replaced.

    Raises:
        UsageError: it is no name.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(f"{name!r} is no name for a snapshot: a letter, then letters and digits")
    machine.monitor(f"savevm {name}")


def restore(machine: Machine, name: str) -> None:
    """Go back to a state that was taken.

    Raises:
        UsageError: there is none of that name.
    """
    _find(machine, name)
    machine.monitor(f"loadvm {name}")
    machine.qmp("cont")
    saved_state = lifecycle.saved_state_of(machine)
    ssh = machine.ssh(saved_state.image)
    ssh.connect(30 * saved_state.accel.timeout_factor)
    lifecycle.settle(ssh, seconds=30 * saved_state.accel.timeout_factor)
    ssh.close()


def delete(machine: Machine, name: str) -> None:
    """Forget a state that was taken.

    Raises:
        UsageError: there is none of that name.
    """
    _find(machine, name)
    machine.monitor(f"delvm {name}")


def _find(machine: Machine, name: str) -> None:
    if name not in (known := names(machine)):
        raise UsageError(f"there is no snapshot {name!r}; there are: {', '.join(known) or 'none'}")


COMMANDS = {"save": save, "restore": restore, "delete": delete}
