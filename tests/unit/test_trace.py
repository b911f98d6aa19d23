# SPDX-License-Identifier: GPL-2.0
"""How trace carries a command's streams; needs no guest."""

import os
import threading

import paramiko
import pytest

from pyharness.interceptor import trace


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
    trace.write_all(writer, data)
    os.close(writer)
    late.join()
    os.close(reader)
    assert bytes(read).lstrip(b"-") == data.lstrip(b"-")


@pytest.mark.parametrize("data", [b"x", b""])
def test_a_command_that_has_ended_takes_no_input(data: bytes) -> None:
    channel = paramiko.Channel(1)
    channel.closed = True
    assert not trace.feed(channel, data)
