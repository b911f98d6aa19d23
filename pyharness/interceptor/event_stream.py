# SPDX-License-Identifier: GPL-2.0
"""The trace events of one command in the guest, read while they come.

The program ``inside/event_stream.py`` records and restores: also when this process is killed, as
its standard input then ends.
"""

import json
import select
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import paramiko

from pyharness.errors import CheckFailed, GuestError, GuestTimeout
from pyharness.guest.guest import Guest
from pyharness.interceptor import reader_channel
from pyharness.interceptor.module import Interceptor

_PROGRAM = Path(__file__).with_name("inside") / "event_stream.py"
_READ = "# pyharness: all events have been read"  # READ of that program
_CHUNK = 1 << 16
_TICK_SECONDS = 0.05
# For the start and the end of the program, and for the rest of the events, on real hardware.
_SECONDS = 20.0


class NoEvents(CheckFailed):
    """The guest has no trace events of the module; the message says why."""


class EventStream:
    """The lines of one command's trace events.

    Attributes:
        epoch_microseconds: what to add to the time of an event for one since the epoch.
        no_ends: why ends of threads are not recorded; empty if they are.
    """

    def __init__(
        self,
        guest: Guest,
        module: Interceptor,
        pid: int,
        *,
        others: bool,
        waiting: Callable[[], object],
    ) -> None:
        """Record the events of a command and its descendants from now on.

        Args:
            guest: the guest.
            module: the interceptor, loaded in the guest.
            pid: the command.
            others: whether other processes are monitored, by whatever looks at the kernel log.
            waiting: called now and then until events are recorded; raises to give up.

        Raises:
            NoEvents: the module or the kernel has no such events.
            GuestError: the guest does not answer.
        """
        self._guest = guest
        self._buffer = b""
        self._kept: list[str] = []
        order = {
            "module": module.name,
            "status": module.interface.status,
            "pid": pid,
            "others": others,
        }
        words = ["python3", "-I", "-S", "-u", "-c", _PROGRAM.read_text(encoding="utf-8")]
        line = shlex.join([*words, json.dumps(order)])
        self._channel: paramiko.Channel = guest.ssh.open(f"exec {line}")
        self._channel.setblocking(False)
        try:
            answer = self._first_line(waiting)
        except BaseException:
            self.close()
            raise
        if "missing" in answer:
            self.close()
            raise NoEvents(answer["missing"])
        self.epoch_microseconds: int = answer["epoch"]
        self.no_ends: str = answer["absent"]

    def _first_line(self, waiting: Callable[[], object]) -> dict[str, Any]:
        lines: list[str] = []

        def arrived() -> bool:
            lines.extend(self.fetch(1))
            return bool(lines)

        self._wait("the trace events", arrived, waiting)
        answer: dict[str, Any] = json.loads(lines[0])
        return answer

    def fetch(self, most: int | None = None) -> list[str]:
        """Return the lines that have arrived.

        Args:
            most: how many lines to return at most; None: all.
        """
        while self._channel.recv_ready():
            self._buffer += self._channel.recv(_CHUNK)
        *lines, rest = self._buffer.split(b"\n", -1 if most is None else most)
        self._buffer = rest
        kept, self._kept = self._kept, []
        return [*kept, *(line.decode(errors="replace") for line in lines)]

    def kill(self) -> None:
        """Kill the command and all its descendants.

        Raises:
            GuestError: the guest does not answer.
        """
        self._order("kill")

    def _order(self, order: str) -> None:
        try:
            self._channel.sendall(f"{order}\n".encode())
        except OSError:
            raise GuestError("the program that reads the trace events has ended") from None

    def drain(self) -> list[str]:
        """End the recording, and return the lines that are left.

        Raises:
            GuestError: the guest does not answer; fetch() returns the lines that have arrived.
        """
        lines: list[str] = []

        def drained() -> bool:
            lines.extend(self.fetch())
            return _READ in lines

        self._order("drain")
        try:
            self._wait("the last trace events", drained)
        except BaseException:
            self._kept = lines
            raise
        return lines[: lines.index(_READ)]

    def _wait(
        self,
        what: str,
        condition: Callable[[], bool],
        waiting: Callable[[], object] = lambda: None,
    ) -> None:
        end = self._guest.clock() + self._guest.limit(_SECONDS)
        while not condition():
            waiting()
            self._guest.ssh.watch()
            if self._channel.closed or self._channel.exit_status_ready():
                if condition():
                    return
                said = self._channel.recv_stderr(_CHUNK).decode(errors="replace").strip()
                raise GuestError(f"the program that reads the trace events has ended: {said}")
            if self._guest.clock() > end:
                raise GuestTimeout(f"{what} did not come in time")
            select.select([self._channel], [], [], _TICK_SECONDS)

    def close(self) -> None:
        """Have the guest's program restore what it has changed, and wait for its end."""
        reader_channel.end(self._guest, self._channel)
