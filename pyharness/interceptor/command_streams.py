# SPDX-License-Identifier: GPL-2.0
"""Connects a command in the guest with this process's standard streams."""

import os
import select
import sys
import time
from collections.abc import Callable, Iterator

import paramiko

from pyharness.errors import CheckFailed
from pyharness.guest.guest import Guest
from pyharness.transport.streams import Feeder, pump

_CHUNK = 1 << 16
_LOOK_SECONDS = 0.05  # between two calls of look()
# sshd sends what it finds in the pipes at once; on real hardware, a pause is not this long.
_QUIET_SECONDS = 0.1
# The windows of both streams' channel (2 MiB) and sshd's buffers, and two pipes of 64 KiB.
MOST_ON_THE_WAY = 4 << 20


class Remainder:
    """What a command has written before its end, and what arrives after it.

    A process that the command has left behind may keep its streams open, and write more: nothing
    marks the end of the command's own output. All of it has arrived when nothing has come for a
    while, or more than the pipes and SSH hold.
    """

    def __init__(
        self, channel: paramiko.Channel, clock: Callable[[], float], seconds: float
    ) -> None:
        """Begin before the end of a command.

        Args:
            channel: the channel of the command.
            clock: returns the seconds in which the guest could run.
            seconds: how long nothing comes once all has arrived.
        """
        self._channel = channel
        self._clock = clock
        self._seconds = seconds
        self._latest = 0.0
        self._left: int | None = None

    def add(self, stream: int, data: bytes) -> None:
        """Write output that has arrived to a file descriptor."""
        write_all(stream, data)
        self._latest = self._clock()
        if self._left is not None:
            self._left -= len(data)

    def has_arrived(self) -> bool:
        """Whether the command has ended, and all its output has arrived."""
        if not self._channel.exit_status_ready():
            return False
        if self._left is None:
            self._left = MOST_ON_THE_WAY
            self._latest = self._clock()
        ready = self._channel.recv_ready() or self._channel.recv_stderr_ready()
        quiet = not ready and self._clock() > self._latest + self._seconds
        return quiet or self._left < 0


def carry(guest: Guest, channel: paramiko.Channel, look: Callable[[], object]) -> int:
    """Connect a channel with this process's standard streams until the command ends.

    Processes that the command has left behind are not waited for.

    Args:
        guest: the guest.
        channel: the channel of the command.
        look: called repeatedly, and once at the end.

    Returns:
        The command's exit status.

    Raises:
        CheckFailed: the exit status is not known.
        GuestError: the connection is lost.
    """
    feeder = Feeder(channel, _standard_input())
    remainder = Remainder(channel, guest.clock, guest.limit(_QUIET_SECONDS))
    looked = 0.0

    def tick() -> None:
        nonlocal looked
        feeder.feed()
        if time.monotonic() > looked + _LOOK_SECONDS:
            look()
            looked = time.monotonic()

    status = pump(
        channel,
        stdout=lambda data: remainder.add(sys.stdout.fileno(), data),
        stderr=lambda data: remainder.add(sys.stderr.fileno(), data),
        tick=tick,
        leave=remainder.has_arrived,
    )
    look()
    if status < 0:
        raise CheckFailed("the command's exit status is not known")
    return status


def _standard_input() -> Iterator[bytes]:
    """Yield what arrives at standard input, in parts; after each, an empty one.

    So output is read between two parts, however fast they arrive.
    """
    if sys.stdin and not sys.stdin.closed:
        stream = sys.stdin.fileno()
        while True:
            if select.select([stream], [], [], 0)[0]:
                if not (data := os.read(stream, _CHUNK)):
                    return
                yield data
            yield b""


def write_all(stream: int, data: bytes) -> None:
    """Write all data to a file descriptor; wait whenever a non-blocking one takes no more."""
    left = memoryview(data)
    while left:
        try:
            left = left[os.write(stream, left) :]
        except BlockingIOError:
            select.select([], [stream], [])
