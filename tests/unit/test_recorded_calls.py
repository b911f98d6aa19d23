# SPDX-License-Identifier: GPL-2.0
"""The program in the guest that prints recorded calls: what it says last is read."""

import socket
from types import SimpleNamespace
from typing import cast

import pytest

from pyharness import CheckFailed, Guest, GuestError
from pyharness.interceptor import recorded_calls
from pyharness.linux.syscalls import Syscalls


class Ended:
    """The channel of a program whose output arrives when its end is already known."""

    def __init__(self, data: bytes, sock: socket.socket) -> None:
        self._data = data
        self._sock = sock
        self._has_arrived = False

    def fileno(self) -> int:
        return self._sock.fileno()

    def exit_status_ready(self) -> bool:
        self._has_arrived = True
        return True

    def recv_ready(self) -> bool:
        return self._has_arrived and bool(self._data)

    def recv(self, _count: int) -> bytes:
        data, self._data = self._data, b""
        return data

    def recv_stderr(self, _count: int) -> bytes:
        return b"its reason"

    def shutdown_write(self) -> None:
        """It reads no more."""

    def close(self) -> None:
        """There is nothing to close."""


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (b'{"refused": "it is for root"}\n', CheckFailed, "it is for root"),
        (b"hello\n", GuestError, "somebody else has written to the output of the program"),
        (b"", GuestError, "the program that reads recorded calls has ended: its reason"),
    ],
)
def test_what_is_printed_last_is_read(data: bytes, error: type[Exception], message: str) -> None:
    call = b'{"seconds": 1.5, "thread": 7, "number": "i386:39", "args": [1, 2, 3, 4, 5, 6]}\n'
    with socket.socket() as sock:
        channel = Ended(call + data, sock)
        guest = SimpleNamespace(
            ssh=SimpleNamespace(open=lambda _: channel, watch=lambda: None),
            clock=lambda: 0.0,
            limit=lambda seconds: seconds,
            syscalls=Syscalls("x86_64"),
        )
        calls = recorded_calls.follow(cast("Guest", guest), lost=print)
        assert str(next(calls)) == "[7] i386:mkdir(0x1, 0x2, 0x3, 0x4, 0x5, 0x6)"
        with pytest.raises(error) as failed:
            next(calls)
    assert str(failed.value) == message
