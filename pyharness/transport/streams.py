# SPDX-License-Identifier: GPL-2.0
"""A command's streams, over the channel of an SSH connection."""

import select
from collections.abc import Callable, Iterable

import paramiko

from pyharness.errors import GuestError

_CHUNK = 1 << 16
# How long to wait for a command's output before the next tick.
_TICK_SECONDS = 0.02


class Feeder:
    """Sends a command its input as fast as the command reads it."""

    def __init__(self, channel: paramiko.Channel, data: Iterable[bytes]) -> None:
        """Prepare the input, which feed() then sends.

        Args:
            channel: the command's channel.
            data: the input in parts. An empty part means that there is no more at present; after
                the last part, the command's standard input ends.
        """
        self._channel = channel
        self._data = iter(data)
        self._left = memoryview(b"")
        self._ended = False

    def feed(self) -> None:
        """Send as much as there is, and as the channel accepts now."""
        while not self._ended:
            if not self._left:
                part = next(self._data, None)
                if part == b"":
                    return
                self._ended = part is None
                self._left = memoryview(part or b"")
            try:
                # Not sendall(): it fails as soon as the channel accepts less than all.
                while self._left and self._channel.send_ready():
                    self._left = self._left[self._channel.send(bytes(self._left[:_CHUNK])) :]
                if self._ended:
                    self._channel.shutdown_write()
            except OSError:  # the command does not read any more
                self._ended = True
            if self._left:
                return


def pump(
    channel: paramiko.Channel,
    *,
    stdout: Callable[[bytes], object],
    stderr: Callable[[bytes], object],
    tick: Callable[[], object],
    leave: Callable[[], bool] = lambda: False,
) -> int:
    """Read a command's output until both its streams end, then its exit status.

    The streams end when no process has them open any more; the command may leave some behind.

    The order matters. A caller that waits in ``recv_exit_status()`` first deadlocks with a
    command that has filled the channel's window, and waits for a reader.

    Args:
        channel: the command's channel.
        stdout: called with each part of the command's standard output.
        stderr: called with each part of the command's standard error.
        tick: called before each read; it sends input, checks the clock, and raises to give up.
        leave: called before each read; whether to wait no longer for the streams to end. It is
            true only if there is an exit status.

    Returns:
        The exit status; -1 if a signal ended the command.

    Raises:
        GuestError: the connection is lost.
    """
    channel.setblocking(False)
    while True:
        tick()
        # Check for the end before reading: output that came before the end is then still read.
        ended = (channel.eof_received or channel.closed) and channel.exit_status_ready()
        left = leave()
        if channel.recv_ready() and not left:
            stdout(channel.recv(_CHUNK))
        elif channel.recv_stderr_ready() and not left:
            stderr(channel.recv_stderr(_CHUNK))
        elif ended or left:
            if channel.exit_status == -1 and not _transport_lives(channel):
                raise GuestError("the connection to the guest is gone")
            return channel.exit_status
        elif channel.eof_received:  # select() would return at once
            channel.status_event.wait(_TICK_SECONDS)
        else:
            select.select([channel], [], [], _TICK_SECONDS)


def _transport_lives(channel: paramiko.Channel) -> bool:
    transport = channel.get_transport()
    return transport is not None and transport.is_active()
