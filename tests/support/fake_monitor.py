# SPDX-License-Identifier: GPL-2.0
"""A monitor of QEMU's that a test makes up; it runs in the test's process."""

import json
import os
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pyharness.host import programs
from pyharness.machine.qemu_process import Machine

VERSION = {"qemu": {"major": 7, "minor": 2, "micro": 0}}
GREETING = {"QMP": {"version": VERSION, "capabilities": []}}


class Refused(Exception):
    """Raised by an answer: the monitor reports an error, with this text."""


class Monitor:
    """The state of a guest, as its monitor sees it.

    Attributes:
        status: the run state.
        asked: the names of the commands so far, without those that only ask for a state.
        answers: what each command returns, by name; commands that are not in it return nothing.
    """

    def __init__(self, answers: Mapping[str, Callable[[Mapping[str, Any]], object]]) -> None:
        self.status = "running"
        self.asked: list[str] = []
        self.answers = answers

    def answer(self, command: str, arguments: Mapping[str, Any]) -> object:
        """Carry a command out, and return its result."""
        if not command.startswith("q"):
            self.asked.append(command)
        if command == "stop":
            self.status = "paused"
        if command == "cont":
            self.status = "running"
        if command == "query-status":
            return {"status": self.status}
        if command == "query-version":
            return VERSION
        return self.answers[command](arguments) if command in self.answers else {}

    def serve(self, listener: socket.socket) -> None:
        """Answer one client after another until the listener is shut down."""
        with suppress(OSError):
            while True:
                client = listener.accept()[0]
                with client, client.makefile("r", encoding="ascii") as lines:
                    self._talk(client, _objects(iter(lambda: lines.read(1), "")))

    def _talk(self, client: socket.socket, requests: Iterator[dict[str, Any]]) -> None:
        with suppress(BrokenPipeError):  # the client does not wait for the answer any more
            client.sendall(json.dumps(GREETING).encode() + b"\n")
            for asked in requests:
                reply: dict[str, object] = {"id": asked.get("id")}
                try:
                    reply["return"] = self.answer(asked["execute"], asked.get("arguments", {}))
                except Refused as refused:
                    reply["error"] = {"class": "GenericError", "desc": str(refused)}
                client.sendall(json.dumps(reply).encode() + b"\n")


def _objects(characters: Iterator[str]) -> Iterator[dict[str, Any]]:
    """The JSON objects in a stream, which has nothing between them."""
    text = ""
    for character in characters:
        text += character
        if character == "}":
            with suppress(ValueError):
                yield json.loads(text)
                text = ""


def made_up(folder: Path) -> Machine:
    """A machine whose QEMU is this process."""
    return Machine(
        folder=folder,
        guest="made-up",
        accel="tcg",
        port=1,
        pid=os.getpid(),
        began=programs.began(os.getpid()),
        owner=None,
    )


@contextmanager
def machine(folder: Path, monitor: Monitor) -> Iterator[Machine]:
    """A machine that has a monitor, and whose QEMU is this process."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "qmp.sock"))
        listener.listen()
        server = threading.Thread(target=monitor.serve, args=(listener,))
        server.start()
        made = made_up(folder)
        made._remember()
        try:
            yield made
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            server.join()
