# SPDX-License-Identifier: GPL-2.0
"""Connects a command in the guest with this process's standard streams."""

import os
import select
import sys
import time
from collections.abc import Callable, Iterator

import paramiko

from pyharness.errors import CheckFailed
from pyharness.transport.ssh import Feeder, pump

_CHUNK = 1 << 16
_LOOK_SECONDS = 0.05  # between two calls of look()


def carry(channel: paramiko.Channel, look: Callable[[], object]) -> int:
    """Connect a channel with this process's standard streams until the command ends.

    Args:
        channel: the channel of the command.
        look: called repeatedly, and once at the end.

    Returns:
        The command's exit status.

    Raises:
        CheckFailed: the exit status is not known.
        GuestError: the connection is lost.
    """
    feeder = Feeder(channel, _standard_input())
    looked = 0.0

    def tick() -> None:
        nonlocal looked
        feeder.feed()
        if time.monotonic() > looked + _LOOK_SECONDS:
            look()
            looked = time.monotonic()

    status = pump(
        channel,
        stdout=lambda data: write_all(sys.stdout.fileno(), data),
        stderr=lambda data: write_all(sys.stderr.fileno(), data),
        tick=tick,
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
