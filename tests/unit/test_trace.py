# SPDX-License-Identifier: GPL-2.0
"""How trace carries a command's streams; needs no guest."""

import os
import runpy
import subprocess
import threading
from collections.abc import Iterable
from pathlib import Path

import paramiko
import pytest

from pyharness.interceptor import command_streams, event_stream
from pyharness.interceptor.command_streams import MOST_ON_THE_WAY, Remainder
from pyharness.transport.streams import Feeder


class Ended(paramiko.Channel):
    """The channel of a command that has ended, or not yet.

    Attributes:
        waits: whether output has arrived that was not read.
    """

    waits = False

    def recv_ready(self) -> bool:
        """Whether output can be read."""
        return self.waits


def test_the_output_of_a_command_that_leaves_a_process_behind_ends() -> None:
    """Once nothing has come for a while."""
    now = 0.0
    channel = Ended(1)
    remainder = Remainder(channel, lambda: now, seconds=1.0)
    reader, writer = os.pipe()
    now = 10.0
    assert not remainder.has_arrived()
    channel.status_event.set()
    assert not remainder.has_arrived()
    now = 10.9
    remainder.add(writer, b"x")
    now = 11.8
    assert not remainder.has_arrived()
    now = 12.0
    channel.waits = True
    assert not remainder.has_arrived()
    channel.waits = False
    assert remainder.has_arrived()
    os.close(writer)
    assert os.read(reader, 2) == b"x"
    os.close(reader)


def test_a_process_that_goes_on_writing_is_not_waited_for() -> None:
    channel = Ended(1)
    channel.waits = True
    remainder = Remainder(channel, lambda: 0.0, seconds=1.0)
    part = bytes(1 << 16)
    with Path(os.devnull).open("wb") as nowhere:
        remainder.add(nowhere.fileno(), part)
        channel.status_event.set()
        arrived = 0
        while not remainder.has_arrived():
            remainder.add(nowhere.fileno(), part)
            arrived += len(part)
    assert MOST_ON_THE_WAY < arrived <= MOST_ON_THE_WAY + len(part)


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


@pytest.mark.parametrize("name", ["sh", "Tgid:", "Tgid:\t1"])
def test_a_program_may_be_called_as_a_field_of_its_status(name: str) -> None:
    program = runpy.run_path(
        str(Path(event_stream.__file__).with_name("inside") / "event_stream.py")
    )
    line = ["sh", "-c", 'printf %s "$1" > /proc/$$/comm; echo; read line', "sh", name]
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == b"\n"
        assert program["process_of"](str(process.pid)) == str(process.pid)
