# SPDX-License-Identifier: GPL-2.0
"""SSH channels of programs in the guest that restore what they changed when their input ends."""

import select

import paramiko

from pyharness.errors import GuestError
from pyharness.guest.guest import Guest

_CHUNK = 1 << 16
_TICK_SECONDS = 0.05
_SECONDS = 20.0  # for the end of a program, on real hardware


def end(guest: Guest, channel: paramiko.Channel) -> None:
    """End a program by the end of its input, wait until it has ended, and close the channel.

    What it prints meanwhile is dropped. If the guest does not answer, nothing is waited for.

    Args:
        guest: the guest.
        channel: the program's channel.
    """
    until = guest.clock() + guest.limit(_SECONDS)
    try:
        channel.shutdown_write()
        while not channel.exit_status_ready() and guest.clock() < until:
            guest.ssh.watch()
            while channel.recv_ready():  # it may wait until its output is read
                channel.recv(_CHUNK)
            select.select([channel], [], [], _TICK_SECONDS)
    except (OSError, GuestError):  # the channel is closed, or the guest has crashed
        return
    finally:
        channel.close()
