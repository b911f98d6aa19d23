# SPDX-License-Identifier: GPL-2.0
"""The calls that the module records elsewhere than in the kernel log: as events, or in its ring."""

import json
import select
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pyharness.errors import CheckFailed, GuestError
from pyharness.guest.agent import program
from pyharness.guest.guest import Guest
from pyharness.interceptor import reader_channel
from pyharness.interceptor.call_log import RecordedCall

_PROGRAM = Path(__file__).with_name("inside") / "recorded_calls.py"
_CHUNK = 1 << 16
_WAIT_SECONDS = 1.0


def follow(
    guest: Guest,
    *,
    lost: Callable[[int], object],
    waiting: Callable[[], object] = lambda: None,
) -> Iterator[RecordedCall]:
    """Yield the calls that are recorded from now on, as they come, without end.

    They are read from where the module's parameter ``log`` says at the beginning.

    Args:
        guest: the guest.
        lost: called with the number of calls that were overwritten before they were read; with 0
            if that is not known.
        waiting: called at least once a second; raises an exception to end the iteration.

    Raises:
        CheckFailed: no calls can be read; the message says why.
        GuestError: the guest does not answer.
    """
    for line in _lines(guest, waiting):
        fields = _fields(line)
        if "refused" in fields:
            raise CheckFailed(fields["refused"])
        if "lost" in fields:
            lost(fields["lost"])
        else:
            yield RecordedCall(
                microseconds=round(fields["seconds"] * 1e6),
                pid=fields["thread"],
                syscall=guest.syscalls.ref(fields["number"]),
                args=tuple(fields["args"]),
            )


def _fields(line: bytes) -> dict[str, Any]:
    try:
        fields: dict[str, Any] = json.loads(line)
    except ValueError:
        raise GuestError("somebody else has written to the output of the program") from None
    return fields


def _lines(guest: Guest, waiting: Callable[[], object]) -> Iterator[bytes]:
    rest = b""
    channel = guest.ssh.open(program(file=_PROGRAM))
    try:
        while True:
            waiting()
            guest.ssh.watch()
            # In this order: its last output comes before its end.
            if channel.exit_status_ready() and not channel.recv_ready():
                said = channel.recv_stderr(_CHUNK).decode(errors="replace").strip()
                raise GuestError(f"the program that reads recorded calls has ended: {said}")
            if select.select([channel], [], [], _WAIT_SECONDS)[0]:
                *lines, rest = (rest + channel.recv(_CHUNK)).split(b"\n")
                yield from lines
    finally:
        reader_channel.end(guest, channel)
