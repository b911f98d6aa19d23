# SPDX-License-Identifier: GPL-2.0
"""What remains usable of a guest whose agent is interrupted or ends; its channel is a stand-in."""

import json
from types import SimpleNamespace
from typing import Any, NoReturn, cast

import pytest

from pyharness.errors import GuestError, HostError
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
        self.has_ended = False
        self.said = b""  # to standard error
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
        return b"" if self.has_ended else answers

    def recv_stderr(self, _size: int) -> bytes:
        said, self.said = self.said, b""
        return said

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
    closed: list[bool] = []

    def start(_line: str) -> Channel:
        if closed:
            raise GuestError("not connected to the guest")
        channels.append(Channel())
        return channels[-1]

    connection = SimpleNamespace(
        clock=lambda: 0.0,
        connect=lambda _seconds: None,
        watch=lambda: None,
        open=start,
        close=lambda: closed.append(True),
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


@pytest.mark.parametrize("failure", [KeyboardInterrupt(), HostError("the disk is full")])
def test_an_interrupted_guest_gets_another_agent(
    guest: Guest, channels: list[Channel], failure: BaseException
) -> None:
    """With another actor of root's, and another reader of the log: those of the first are gone."""
    root, log = guest.root, guest.log
    assert guest.root is root
    assert guest.log is log
    mark = log.mark()
    channels[0].failure = failure
    with pytest.raises(type(failure)):
        guest.agent.read("/proc/version")
    assert channels[0].closed
    guest.dismiss()
    for _ in range(2):
        assert guest.agent.read("/proc/version") == "it"
    assert len(channels) == 2
    assert guest.root is not root
    assert guest.root.syscall("getpid").value == 300
    assert guest.log is not log
    assert guest.log.mark() == mark


@pytest.mark.parametrize("first", ["root", "log"])
def test_what_an_interrupted_agent_has_started_is_not_used_again(
    guest: Guest, channels: list[Channel], first: str
) -> None:
    before = getattr(guest, first)
    channels[0].failure = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        guest.log.fetch()
    assert getattr(guest, first) is not before


@pytest.mark.parametrize("said", [b"killed\n", b"kill\xffed\n"])
def test_an_agent_that_has_ended_says_so(
    guest: Guest, channels: list[Channel], said: bytes
) -> None:
    """Once, and whatever bytes it has written before its end."""
    guest.root.syscall("getpid")
    channels[0].has_ended, channels[0].said = True, said
    with pytest.raises(GuestError, match=r"the agent in the guest ended: kill.?ed$"):
        guest.root.syscall("getpid")
    assert guest.root.syscall("getpid").value == 300


def test_why_an_agent_does_not_begin_is_looked_for_once(
    guest: Guest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is found is part of the message."""

    def name_cause(error: GuestError) -> NoReturn:
        raise GuestError(f"{error}, at ring.c:7")

    monkeypatch.setattr(guest.health, "raise_cause", name_cause)
    monkeypatch.setattr(Channel, "recv", lambda *_: b"")
    with pytest.raises(
        GuestError, match=r"^the agent in the guest ended.*, at ring\.c:7$"
    ) as failure:
        _ = guest.agent
    assert str(failure.value).count("at ring.c:7") == 1


def test_a_closed_guest_gets_no_other_agent(guest: Guest, channels: list[Channel]) -> None:
    guest.agent.read("/proc/version")
    guest.close()
    with pytest.raises(GuestError, match="was closed: start another guest to go on"):
        guest.agent.read("/proc/version")
    assert len(channels) == 1
