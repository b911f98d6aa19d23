# SPDX-License-Identifier: GPL-2.0
"""What is said of an agent that has ended; its channel is a stand-in."""

import json
from types import SimpleNamespace
from typing import Any, cast

import pytest

from pyharness.errors import GuestError
from pyharness.guest.backend import GuestBackend
from pyharness.guest.guest import Guest

ANSWERS: dict[str, dict[str, Any]] = {
    "hello": {"address": "00"},
    "spawn": {"task": 300},
    "ask": {"value": 300, "errno": 0, "where": [], "outputs": [], "injected": False},
    "read": {"text": "it"},
    "kmsg": {"records": ["6,7,8,-;a line"], "more": False},
    "dismiss": {},
}


class Channel:
    """The channel of an agent, which answers each request at once."""

    def __init__(self) -> None:
        """Begin without an answer."""
        self.closed = False
        self.failure: BaseException | None = None  # of the next wait for an answer
        self.said: list[bytes] = []  # to standard error; the agent has ended then
        self._answers = b""

    def sendall(self, data: bytes) -> None:
        if self.closed:
            raise OSError("Socket is closed")
        asked = json.loads(data)
        self._answers += json.dumps({"id": asked["id"], **ANSWERS[asked["do"]]}).encode() + b"\n"

    def recv(self, _size: int) -> bytes:
        if self.failure:
            raise self.failure
        answers, self._answers = self._answers, b""
        return b"" if self.said else answers

    def recv_stderr(self, _size: int) -> bytes:
        return self.said.pop() if self.said else b""

    def recv_ready(self) -> bool:
        return False

    def settimeout(self, _seconds: float) -> None:
        pass

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def channels() -> list[Channel]:
    """The channels of the agents that were started so far."""
    return []


@pytest.fixture
def guest(channels: list[Channel]) -> Guest:
    def start(_line: str) -> Channel:
        channels.append(Channel())
        return channels[-1]

    connection = SimpleNamespace(
        clock=lambda: 0.0, connect=lambda _seconds: None, watch=lambda: None, open=start
    )
    backend = SimpleNamespace(
        facts=SimpleNamespace(syscalls="x86_64", timeout_factor=1.0),
        ssh=lambda _watch: connection,
        status=lambda: "running",
        console_size=lambda: 0,
        console_text=lambda *_: "",
        persistent=True,
    )
    return Guest(cast("GuestBackend", backend), fresh=False)


@pytest.mark.parametrize("said", [b"killed\n", b"kill\xffed\n"])
def test_an_agent_that_has_ended_says_so(
    guest: Guest, channels: list[Channel], said: bytes
) -> None:
    """Whatever bytes it has written before its end."""
    guest.root.syscall("getpid")
    channels[0].said = [said]
    with pytest.raises(GuestError, match=r"the agent in the guest ended: kill.?ed$"):
        guest.root.syscall("getpid")
