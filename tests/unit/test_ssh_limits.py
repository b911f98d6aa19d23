# SPDX-License-Identifier: GPL-2.0
"""Whatever an SSH server leaves unanswered, the guest is watched; the servers are stand-ins."""

import itertools
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any

import paramiko
import pytest

from pyharness.errors import GuestCrashed, GuestError, GuestTimeout
from pyharness.guest import guest
from pyharness.guest.guest import Guest
from pyharness.machine import lifecycle, qemu_process, saved_states
from pyharness.transport import ssh, streams

LONG = 10_000.0  # seconds, longer than the limit of a test
KEY = paramiko.ECDSAKey.generate()


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A server like QEMU's user network for a guest that hangs: it accepts, and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as one:
        yield one


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssh, "_ATTEMPT_SECONDS", LONG)
    monkeypatch.setattr(ssh, "WATCH_SECONDS", 0.0)


def connection(listener: socket.socket, **options: Any) -> ssh.Ssh:
    port = listener.getsockname()[1]
    return ssh.Ssh("127.0.0.1", port, keys=lambda: nullcontext([KEY]), host_key=None, **options)


def crash() -> None:
    raise GuestCrashed("panicked")


def test_a_guest_that_is_connected_to_is_watched(listener: socket.socket) -> None:
    with pytest.raises(GuestCrashed):
        connection(listener, watch=crash).connect(LONG)


def test_the_limit_of_a_connection_is_by_its_clock(listener: socket.socket) -> None:
    clock = itertools.count()
    with pytest.raises(GuestTimeout, match="in 20 s"):
        connection(listener, clock=lambda: float(next(clock))).connect(20)
    assert next(clock) < 30


class Server(paramiko.ServerInterface):
    """A server that lets anybody in, and runs commands by a function."""

    def __init__(self, run: Callable[[paramiko.Channel], bool]) -> None:
        """Run commands by that function; it returns whether one was started."""
        self._run = run

    def get_allowed_auths(self, *_: object) -> str:
        return "publickey"

    def check_auth_publickey(self, *_: object) -> int:
        return 0  # AUTH_SUCCESSFUL

    def check_channel_request(self, *_: object) -> int:
        return 0  # OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel: paramiko.Channel, *_: object) -> bool:
        return self._run(channel)


@contextmanager
def served(listener: socket.socket, run: Callable[[paramiko.Channel], bool]) -> Iterator[None]:
    """Serve one connection."""
    transports: list[paramiko.Transport] = []

    def serve() -> None:
        transports.append(paramiko.Transport(listener.accept()[0]))
        transports[0].add_server_key(KEY)
        transports[0].start_server(event=threading.Event(), server=Server(run))

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        thread.join()
        transports[0].close()


def test_a_guest_that_starts_a_command_is_watched(listener: socket.socket) -> None:
    """The server is in the request to run it, and does not answer."""
    asked, released = threading.Event(), threading.Event()

    def hang(_channel: paramiko.Channel) -> bool:
        asked.set()
        released.wait()
        return False

    def watch() -> None:
        if asked.is_set():
            raise GuestCrashed("panicked")

    one = connection(listener, watch=watch)
    with served(listener, hang):
        one.connect(LONG)
        try:
            with pytest.raises(GuestCrashed):
                one.run("true", seconds=LONG)
        finally:
            released.set()
            one.close()


def test_nobody_spins_while_an_exit_status_is_to_come(listener: socket.socket) -> None:
    """The streams of the command have ended, and it has not."""
    ticks = 0
    pause = threading.Event()

    def tick() -> None:
        nonlocal ticks
        ticks += 1

    def run(channel: paramiko.Channel) -> bool:
        def work() -> None:
            channel.shutdown_write()
            pause.wait(1.0)
            channel.send_exit_status(3)
            channel.close()

        threading.Thread(target=work).start()
        return True

    one = connection(listener)
    with served(listener, run):
        one.connect(LONG)
        with one.open("true") as channel:
            nothing = lambda _: None  # noqa: E731
            assert streams.pump(channel, stdout=nothing, stderr=nothing, tick=tick) == 3
        one.close()
    assert ticks < 100


@pytest.mark.parametrize(
    ("state", "seconds"),
    [("suspended", qemu_process.ANSWER_SECONDS), ("off", saved_states.BOOT_SECONDS)],
)
def test_a_guest_that_was_switched_off_has_the_time_of_a_boot(
    monkeypatch: pytest.MonkeyPatch, state: str, seconds: float
) -> None:
    limits: list[float] = []
    done = SimpleNamespace(check=lambda: None)
    connecting = SimpleNamespace(
        clock=lambda: 0.0, connect=limits.append, run=lambda *_, **__: done
    )
    backend = SimpleNamespace(
        facts=SimpleNamespace(syscalls="x86_64", timeout_factor=6.0),
        ssh=lambda _watch: connecting,
        status=lambda: "running",
        console_size=lambda: 0,
        console_text=lambda *_: "",
        persistent=True,
    )
    monkeypatch.setattr(lifecycle, "running", lambda _name: None)
    monkeypatch.setattr(lifecycle, "state_of", lambda _name: state)
    monkeypatch.setattr(lifecycle, "start_again", lambda _name: None)
    monkeypatch.setattr(guest, "_persistent", lambda _machine: backend)
    Guest.attach("some-guest")
    assert limits == [6.0 * seconds]


@pytest.mark.parametrize("name", ["a..b", "a" * 64, "a\udcff"])
def test_what_can_be_no_name_of_a_host_is_not_found(name: str) -> None:
    """Such a name reaches no server that could say so."""
    with pytest.raises(GuestError, match="can't be found: "):
        ssh.Ssh(name, 22, keys=lambda: nullcontext([KEY]), host_key=None).connect(LONG)
