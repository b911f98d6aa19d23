# SPDX-License-Identifier: GPL-2.0
"""QEMU's monitor is asked as soon as it can be. Its other end is made up here."""

import json
import os
import socket
import threading
import time
from pathlib import Path

import psutil

from pyharness.qemu import Machine

GREETING = {"QMP": {"version": {"qemu": {"major": 7, "minor": 2, "micro": 0}}, "capabilities": []}}


def serve(listener: socket.socket, tried: threading.Event) -> None:
    """Answer as QEMU does that runs, but listen only when somebody has tried in vain."""
    tried.wait()
    listener.listen()
    with listener, listener.accept()[0] as client:
        client.sendall(json.dumps(GREETING).encode() + b"\n")
        while asked := client.recv(4096):
            answer = {"return": {"status": "running"}, "id": json.loads(asked).get("id")}
            client.sendall(json.dumps(answer).encode() + b"\n")


def test_a_monitor_that_refuses_is_waited_for(tmp_path: Path) -> None:
    """Between bind() and listen() the socket is there already."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(tmp_path / "qmp.sock"))
    tried = threading.Event()
    server = threading.Thread(target=serve, args=(listener, tried))
    server.start()
    machine = Machine(
        folder=tmp_path,
        guest="made up",
        accel="tcg",
        port=1,
        pid=os.getpid(),
        began=psutil.Process().create_time(),
        owner=None,
    )
    # The first attempt is made long before this is over; nothing depends on how long.
    threading.Timer(0.5, tried.set).start()
    begin = time.monotonic()
    assert machine.status() == "running"
    assert time.monotonic() - begin > 0.4
    server.join()
