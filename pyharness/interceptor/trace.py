# SPDX-License-Identifier: GPL-2.0
"""Run a command in the guest and see its system calls as they come."""

import errno
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import paramiko

from pyharness.errors import CheckFailed, GuestError, GuestTimeout
from pyharness.guest.agent import program
from pyharness.guest.guest import Guest
from pyharness.host import signals
from pyharness.interceptor.module import Module
from pyharness.linux import kmsg
from pyharness.transport.ssh import pump

_CHUNK = 1 << 16
_LOOK_SECONDS = 0.05


def trace(
    guest: Guest,
    module: Module,
    calls: Sequence[str],
    argv: Sequence[str],
    *,
    user: str = "root",
    show: Callable[[kmsg.Call], object],
) -> int:
    """Run a command, monitored from before its first instruction to its end.

    Its standard streams are this process's. Of the module's state nothing is
    left changed.

    Args:
        guest: where.
        module: that is loaded there.
        calls: the system calls to see, by name or number, whichever door they come by.
        argv: the command.
        user: who runs it.
        show: told of each call.

    Returns:
        The command's exit status, 128 more than the signal's number if one ended it.
    """
    numbers = [guest.syscalls.number(call) for call in calls]
    before = module.status() if module.abi.status else {}
    mark = guest.log.mark()
    launcher = program("launch", guest.agent.address, *argv, user=user)
    # An interrupt amid a request to the agent would leave nobody to give back what was taken.
    with (
        signals.held() as interruption,
        guest.ssh.open(launcher) as channel,
        _intercepted(module, numbers),
    ):
        pid = _meet(guest, channel, interruption)
        if pid is None:  # it could not be executed, and has said why
            return _carry(channel, interruption)
        try:
            for number in numbers:
                started = module.start(number, pid)
                if started.errno != errno.EBUSY:
                    module.expect(started, 0, f"start {number}")
            shown = mark

            def look() -> None:
                nonlocal shown
                interruption()
                for call in guest.log.calls(shown):
                    # Where others are monitored, too, only its own number tells it from them.
                    number = guest.syscalls.known_by(call.number, call.door)
                    if number in numbers and (number not in before or call.pid == pid):
                        show(call)
                shown = guest.log.next

            guest.agent.let_go(pid)
            return _carry(channel, look)
        except BaseException:
            _kill(guest, pid)
            raise


@contextmanager
def _intercepted(module: Module, numbers: Sequence[int]) -> Iterator[None]:
    """Intercept those that aren't, and give just those back."""
    mine = []
    try:
        for number in numbers:
            result = module.intercept(number)
            if result.errno != errno.EBUSY:
                module.expect(result, 0, f"intercept {number}")
                mine.append(number)
        yield
    finally:
        for number in mine:
            module.release(number)


def _meet(guest: Guest, channel: paramiko.Channel, interruption: Callable[[], None]) -> int | None:
    end = time.monotonic() + guest.limit(10)
    while (pid := guest.agent.meet_next(0.1)) is None:
        interruption()
        if channel.exit_status_ready():
            return None
        if time.monotonic() > end:
            raise GuestTimeout("the command was not started in time")
    return pid


def _kill(guest: Guest, pid: int) -> None:
    try:
        guest.agent.kill(-pid, signal.SIGKILL)  # it leads a group, with all it started
    except GuestError:
        return


def _carry(channel: paramiko.Channel, look: Callable[[], None]) -> int:
    """Connect the channel with this process's streams until it ends; its status."""
    stdin = sys.stdin.fileno() if sys.stdin and not sys.stdin.closed else None
    looked = 0.0

    def tick() -> None:
        nonlocal stdin, looked
        if (
            stdin is not None
            and channel.send_ready()
            and select.select([stdin], [], [], 0)[0]
            and not feed(channel, os.read(stdin, _CHUNK))
        ):
            stdin = None
        if time.monotonic() > looked + _LOOK_SECONDS:
            look()
            looked = time.monotonic()

    status = pump(
        channel,
        stdout=lambda data: write_all(sys.stdout.fileno(), data),
        stderr=lambda data: write_all(sys.stderr.fileno(), data),
        tick=tick,
    )
    look()
    if status < 0:
        raise CheckFailed("the command's exit status is not known")
    return status


def feed(channel: paramiko.Channel, data: bytes) -> bool:
    """Send a command its input, or the end of it if there is no data.

    Returns:
        Whether the command may read more.
    """
    try:
        if data:
            channel.sendall(data)
        else:
            channel.shutdown_write()
    except OSError:  # it has ended
        return False
    return bool(data)


def write_all(stream: int, data: bytes) -> None:
    """Write all of the data to a file descriptor, even if that does not block."""
    left = memoryview(data)
    while left:
        try:
            left = left[os.write(stream, left) :]
        except BlockingIOError:
            select.select([], [stream], [])
