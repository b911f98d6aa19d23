# SPDX-License-Identifier: GPL-2.0
"""Runs a command in the guest, and shows its system calls while it runs."""

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
_LOOK_SECONDS = 0.05  # between two looks at the kernel log


def trace(
    guest: Guest,
    module: Interceptor,
    calls: Sequence[SyscallName],
    argv: Sequence[str],
    *,
    user: str = "root",
    show: Callable[[Call], object],
) -> int:
    """Run a command in the guest, and monitor it from before its first instruction to its end.

    The command uses this process's standard streams. The module's state is restored at the end:
    calls that were not intercepted before are released.

    Args:
        guest: the guest.
        module: the interceptor, loaded in the guest.
        calls: the system calls to show; each is shown whatever ABI it was issued through.
        argv: the command and its arguments.
        user: the user who runs it.
        show: called with each of the command's calls.

    Returns:
        The command's exit status; 128 plus the signal's number if a signal ended it.

    Raises:
        CheckFailed: a call can't be intercepted or monitored, or the exit status is not known.
        GuestError: the guest does not answer, or crashed.
    """
    wanted = [guest.syscalls.canonical(guest.syscalls.ref(call)) for call in calls]
    before = module.status() if module.interface.status else {}
    mark = guest.log.mark()
    launcher = program("launch", guest.agent.address, *argv, user=user)
    # Signals are held back: an interrupted request closes the agent, and without it the system
    # calls could not be released.
    with (
        signals.held() as interruption,
        guest.ssh.open(launcher) as channel,
        _intercepted(module, wanted),
    ):
        pid = _meet(guest, channel, interruption)
        if pid is None:  # the command could not be executed; the launcher prints why
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
                    # A call that was intercepted before may be monitored for other processes, too:
                    # of those, show only the command's own.
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
    """Intercept the calls that aren't intercepted yet, and release just those at the end."""
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
    end = guest.clock() + guest.limit(10)
    while (pid := guest.agent.meet_next(0.1)) is None:
        interruption()
        if channel.exit_status_ready():
            return None
        if guest.clock() > end:
            raise GuestTimeout("the command was not started in time")
    return pid


def _kill(guest: Guest, pid: int) -> None:
    try:
        guest.agent.kill(-pid, signal.SIGKILL)  # the process group: the command and its children
    except GuestError:
        return


def _carry(channel: paramiko.Channel, look: Callable[[], None]) -> int:
    """Connect the channel with this process's streams until the command ends.

    Args:
        channel: the channel of the command.
        look: called repeatedly, and once at the end.

    Returns:
        The command's exit status.
    """
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
    """Send data to a command's standard input, or close that if the data are empty.

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
    """Write all data to a file descriptor; wait whenever a non-blocking one takes no more."""
    left = memoryview(data)
    while left:
        try:
            left = left[os.write(stream, left) :]
        except BlockingIOError:
            select.select([], [stream], [])
