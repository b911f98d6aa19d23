# SPDX-License-Identifier: GPL-2.0
"""How trace carries a command's streams; needs no guest."""

import os
import threading
from collections.abc import Iterable

import paramiko
import pytest

from pyharness.interceptor import command_streams
from pyharness.transport.ssh import Feeder


class SlowReader(paramiko.Channel):
    """The channel of a command that reads when it is asked to.

    Attributes:
        received: what was sent to it.
        window: how many bytes it accepts.
    """

    def __init__(self, window: int) -> None:
        """Begin with a window of that many bytes."""
        super().__init__(1)
        self.received = b""
        self.window = window

    def send_ready(self) -> bool:
        """Whether it accepts anything."""
        return self.window > 0

    def send(self, s: bytes | bytearray) -> int:
        """Accept what the window has room for, as a channel that does not block."""
        if not self.window:
            raise TimeoutError
        part = s[: self.window]
        self.received += part
        self.window -= len(part)
        return len(part)

    def shutdown_write(self) -> None:
        """Accept no more."""
        self.eof_sent = True


@pytest.mark.parametrize("part", [1000, 1 << 16])
def test_all_input_is_sent_however_slowly_the_command_reads(part: int) -> None:
    data = os.urandom(200_000)
    channel = SlowReader(window=10_000)

    def parts() -> Iterable[bytes]:
        for start in range(0, len(data), part):
            yield data[start : start + part]
            yield b""

    feeder = Feeder(channel, parts())
    while not channel.eof_sent:
        feeder.feed()
        channel.window += 7_000
    assert channel.received == data


def test_input_that_ends_at_once_ends_that_of_the_command() -> None:
    channel = SlowReader(window=0)
    Feeder(channel, []).feed()
    assert channel.eof_sent


@pytest.mark.parametrize("data", [[b"x"], []])
def test_a_command_that_has_ended_takes_no_input(data: list[bytes]) -> None:
    channel = paramiko.Channel(1)
    channel.closed = True
    taken = iter([*data, b"more"])
    feeder = Feeder(channel, taken)
    feeder.feed()
    feeder.feed()
    assert [*taken] == [b"more"][: len(data)]


def test_all_is_written_to_a_pipe_that_does_not_block() -> None:
    """Though it holds less, and its reader is late."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    data = os.urandom(1 << 20)
    read = bytearray()

    def receive() -> None:
        while more := os.read(reader, 4096):
            read.extend(more)

    late = threading.Thread(target=receive)
    while True:  # it is full before anybody reads
        try:
            os.write(writer, b"-")
        except BlockingIOError:
            break
    late.start()
    command_streams.write_all(writer, data)
    os.close(writer)
    late.join()
    os.close(reader)
    assert bytes(read).lstrip(b"-") == data.lstrip(b"-")
