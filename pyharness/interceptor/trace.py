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
from pyharness.interceptor.call_log import Call
from pyharness.interceptor.module import Interceptor
from pyharness.linux.syscalls import SyscallName, SyscallRef
from pyharness.transport.ssh import pump

_CHUNK = 1 << 16
_LOOK_SECONDS = 0.05


def trace(
    guest: Guest,
    module: Interceptor,
    calls: Sequence[SyscallName],
    argv: Sequence[str],
    *,
    user: str = "root",
    show: Callable[[Call], object],
) -> int:
    """Run a command, monitored from before its first instruction to its end.

    Its standard streams are this process's. The module's state is afterwards what it was.

    Args:
        guest: where.
        module: that is loaded there.
        calls: the system calls to see, whichever ABI they come by.
        argv: the command.
        user: who runs it.
        show: called with each call.

    Returns:
        The command's exit status, 128 more than the signal's number if one ended it.
    """
    wanted = [guest.syscalls.canonical(guest.syscalls.ref(call)) for call in calls]
    before = module.status() if module.interface.status else {}
    mark = guest.log.mark()
    launcher = program("launch", guest.agent.address, *argv, user=user)
    # An interrupt amid a request to the agent would leave nobody to give back what was taken.
    with (
        signals.held() as interruption,
        guest.ssh.open(launcher) as channel,
        _intercepted(module, wanted),
    ):
        pid = _meet(guest, channel, interruption)
        if pid is None:  # it could not be executed, and has said why
            return _carry(channel, interruption)
        try:
            for syscall in wanted:
                started = module.start(syscall, pid)
                if started.errno != errno.EBUSY:
                    module.expect(started, 0, f"start {syscall}")
            shown = mark

            def look() -> None:
                nonlocal shown
                interruption()
                for call in module.logged(shown):
                    # Where other processes are monitored, too, its pid tells it from them.
                    syscall = guest.syscalls.canonical(call.syscall)
                    if syscall in wanted and (syscall not in before or call.pid == pid):
                        show(call)
                shown = guest.log.next

            guest.agent.let_go(pid)
            return _carry(channel, look)
        except BaseException:
            _kill(guest, pid)
            raise


@contextmanager
def _intercepted(module: Interceptor, calls: Sequence[SyscallRef]) -> Iterator[None]:
    """Intercept those that aren't intercepted yet, and release just those at the end."""
    mine = []
    try:
        for call in calls:
            result = module.intercept(call)
            if result.errno != errno.EBUSY:
                module.expect(result, 0, f"intercept {call}")
                mine.append(call)
        yield
    finally:
        for call in mine:
            module.release(call)


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
