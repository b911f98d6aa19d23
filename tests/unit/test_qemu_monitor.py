# SPDX-License-Identifier: GPL-2.0
"""QEMU's monitor is asked as soon as it can be. Its other end is made up here."""

import asyncio
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import chain, repeat
from pathlib import Path

import pytest
from fake_monitor import made_up

from pyharness.errors import GuestError
from pyharness.machine import inspection
from pyharness.machine.qemu_process import Machine

GREETING = {"QMP": {"version": {"qemu": {"major": 7, "minor": 2, "micro": 0}}, "capabilities": []}}


def serve(listener: socket.socket, tried: threading.Event, most: int) -> None:
    """Answer as QEMU does that runs, but listen only when somebody has tried in vain.

    Args:
        listener: the socket.
        tried: somebody has.
        most: after so many answers QEMU ends.
    """
    tried.wait()
    listener.listen()
    with listener, listener.accept()[0] as client:
        client.sendall(json.dumps(GREETING).encode() + b"\n")
        for _ in range(most):
            if not (asked := client.recv(4096)):
                return
            answer = {"return": {"status": "running"}, "id": json.loads(asked).get("id")}
            client.sendall(json.dumps(answer).encode() + b"\n")


@contextmanager
def monitor(folder: Path, tried: threading.Event, most: int = 100) -> Iterator[Machine]:
    """A machine whose monitor is made up, and runs in this process."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(folder / "qmp.sock"))
    if tried.is_set():
        listener.listen()
    server = threading.Thread(target=serve, args=(listener, tried, most))
    server.start()
    yield made_up(folder)
    server.join()


def test_a_monitor_that_refuses_is_waited_for(tmp_path: Path) -> None:
    """Between bind() and listen() the socket is there already."""
    tried = threading.Event()
    # The first attempt is made long before this is over; nothing depends on how long.
    threading.Timer(0.5, tried.set).start()
    begin = time.monotonic()
    with monitor(tmp_path, tried) as machine:
        assert machine.status() == "running"
    assert time.monotonic() - begin > 0.4


def test_a_monitor_is_asked_where_an_event_loop_runs(tmp_path: Path) -> None:
    """As in Jupyter, and in tests that are coroutines."""
    tried = threading.Event()
    tried.set()

    async def ask(machine: Machine) -> str:
        return machine.status()

    with monitor(tmp_path, tried) as machine:
        assert asyncio.run(ask(machine)) == "running"


@pytest.mark.parametrize("most", [0, 1, 2])
def test_a_monitor_that_hangs_up(tmp_path: Path, most: int) -> None:
    """At once, before the answer, or after it."""
    tried = threading.Event()
    tried.set()
    with monitor(tmp_path, tried, most) as machine, suppress(GuestError):
        assert machine.qmp("query-status")["status"] == "running"
        assert most == 2


def test_a_machine_that_ends_while_it_is_asked_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alive = chain([True], repeat(False))
    monkeypatch.setattr(Machine, "alive", property(lambda _: next(alive)))
    tried = threading.Event()
    tried.set()
    with monitor(tmp_path, tried, most=1) as machine:
        assert machine.status() == "ended"


def test_where_the_cpus_are() -> None:
    """As QEMU prints registers of i386, amd64 and arm64."""
    i386 = "CPU#0\nEAX=00000000 EBX=c1a6\nEIP=c10a6f9e EFL=00000246 [---Z-P-]\n"
    amd64 = "CPU#1\nR12=0 R13=1\nRIP=ffffffffc0a1100b RFL=00000046\nGDT=     fffffe0000001000\n"
    arm64 = "CPU#2\n PC=ffff800008019a4c X00=0000000000000000 X01=0\nPSTATE=600000c5\n"
    assert inspection.parse(i386 + amd64 + arm64) == [
        0xC10A6F9E, 0xFFFFFFFFC0A1100B, 0xFFFF800008019A4C,
    ]  # fmt: skip
