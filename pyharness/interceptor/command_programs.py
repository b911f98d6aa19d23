# SPDX-License-Identifier: GPL-2.0
"""The C programs of ``inside/`` that issue commands, to whatever module is loaded."""

from pyharness.guest.guest import Guest
from pyharness.interceptor import guest_program
from pyharness.interceptor.interface import Command, Interface

NAMES = ("cycles", "every", "race")
_HEADER = "commands.h"
_ORDER = (Command.INTERCEPT, Command.RELEASE, Command.START, Command.STOP)


def build(guest: Guest, name: str) -> bytes:
    """Compile one of the programs in the guest, or return it from the cache.

    No module that somebody else wrote may be loaded in the guest: it could change what is
    compiled, and the cache has one file for all.

    Args:
        guest: the guest.
        name: one of NAMES.

    Returns:
        The program's file.

    Raises:
        CheckFailed: it does not compile.
    """
    return guest_program.build(guest, name, beside=_beside())


def install(guest: Guest, name: str) -> str:
    """Compile one of the programs as build() does, and write it to the guest.

    Args:
        guest: the guest.
        name: one of NAMES.

    Returns:
        The program's path in the guest.

    Raises:
        CheckFailed: it does not compile.
    """
    return guest_program.install(guest, name, beside=_beside())


def numbers(interface: Interface) -> str:
    """Return the first argument of the programs: the numbers by which a module takes commands."""
    values = (interface.custom_syscall, *(interface.commands[command] for command in _ORDER))
    return ",".join(map(str, values))


def _beside() -> dict[str, bytes]:
    return {_HEADER: guest_program.source(_HEADER)}
