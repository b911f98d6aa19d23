# SPDX-License-Identifier: GPL-2.0
"""Runs a command in the guest, and shows its calls, signals and end while it runs."""

import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager

import paramiko

from pyharness.errors import CheckFailed, GuestCrashed, GuestError, GuestTimeout, UsageError
from pyharness.guest.agent import program
from pyharness.guest.guest import Guest
from pyharness.host import signals
from pyharness.host.wording import counted
from pyharness.interceptor.call_sources import CallSource, LoggedCalls, RecordedCalls
from pyharness.interceptor.command_streams import carry
from pyharness.interceptor.event_stream import EventStream, NoEvents
from pyharness.interceptor.module import Interceptor
from pyharness.interceptor.monitoring import ended_by_others, intercepted, monitored
from pyharness.interceptor.status import LISTED
from pyharness.interceptor.traced import Traced
from pyharness.interceptor.traced_call import TracedCall
from pyharness.linux.syscalls import SyscallName


def trace(
    guest: Guest,
    module: Interceptor,
    calls: Sequence[SyscallName],
    argv: Sequence[str],
    *,
    user: str = "root",
    show: Callable[[Traced], object],
    note: Callable[[str], object] = lambda _sentence: None,
    follow: bool = False,
    needs: str = "",
) -> int:
    """Run a command in the guest, and monitor it from before its first instruction to its end.

    The command uses this process's standard streams. The module's state is restored at the end:
    calls that were not intercepted before are released.

    Calls are read from the module's trace events, and have results; where there are no such
    events, from the kernel log. With the events, signals that are delivered are shown as well,
    and the ends of threads and processes.

    Args:
        guest: the guest.
        module: the interceptor, loaded in the guest.
        calls: the system calls to show; each is shown whatever ABI it was issued through.
        argv: the command and its arguments.
        user: the user who runs it.
        show: called with each of the command's calls, signals and ends of threads.
        note: called with a sentence if there is something to know about what is shown.
        follow: whether those of the command's descendants are shown, too.
        needs: what needs the trace events, for the error message; empty if the kernel log will
            do as well.

    Returns:
        The command's exit status; 128 plus the signal's number if a signal ended it.

    Raises:
        CheckFailed: a call can't be intercepted or monitored, or the exit status is not known.
        UsageError: there are no trace events, and they are needed.
        GuestError: the guest does not answer, or crashed.
    """
    wanted = [guest.syscalls.canonical(guest.syscalls.ref(call)) for call in calls]
    watched = wanted
    if "execveat" in (call.name for call in wanted):
        watched = [*dict.fromkeys((*wanted, guest.syscalls.ref("execve")))]  # as it may return
    before = module.status() if module.interface.status else {}
    logged = LoggedCalls(guest, module)
    launcher = program("launch", guest.agent.address, *argv, user=user)
    # Signals are held back: an interrupted request closes the agent, and without it the system
    # calls could not be released.
    with (
        signals.held() as interruption,
        guest.ssh.open(launcher) as channel,
        intercepted(module, watched),
    ):
        pid = _meet(guest, channel, interruption)
        if pid is None:  # the command could not be executed; the launcher prints why
            return carry(guest, channel, interruption)
        with _killed_by_errors(guest, pid):
            source: CallSource = logged
            try:
                stream = EventStream(
                    guest,
                    module,
                    pid,
                    others=any(entry.mode != LISTED or entry.pids for entry in before.values()),
                    waiting=interruption,
                )
                source = RecordedCalls(guest.syscalls, guest.facts.release, stream)
                if stream.no_ends:
                    note(f"ends of threads and processes are not shown: {stream.no_ends}")
            except NoEvents as reason:
                _check_log(module, str(reason), needs)
                note(f"calls are shown without results, from the kernel log: {reason}")

        def is_wanted(traced: Traced) -> bool:
            mine = follow or traced.process == pid
            if not isinstance(traced, TracedCall):
                return mine
            # A call that was intercepted before may be monitored for other processes, too: of
            # those, show only the command's own.
            syscall = guest.syscalls.canonical(traced.syscall)
            return syscall in wanted and (mine or syscall not in before)

        def show_those(found: Iterable[Traced]) -> None:
            for traced in filter(is_wanted, found):
                show(traced)

        def look() -> None:
            interruption()
            guest.ssh.watch()
            show_those(source.fetch())

        with (
            closing(source),
            _killed_by_errors(guest, pid),
            monitored(module, watched, before, pid, follow=follow),
        ):
            guest.agent.let_go(pid)
            with _shown_after_errors(guest, pid, source, show_those, follow=follow):
                status = carry(guest, channel, look)
                show_those(source.rest())
            if source.lost:
                note(
                    f"the kernel overwrote {counted(source.lost, 'record')} before"
                    " they could be read: some calls or results, signals or ends are missing"
                )
            if ended := ended_by_others(module, wanted, follow=follow):
                names = ", ".join(map(str, ended))
                note(f"somebody else has ended the monitoring of {names}: calls may be missing")
        return status


def _check_log(module: Interceptor, reason: str, needs: str) -> None:
    """Check that calls can be read from the kernel log.

    Args:
        module: the interceptor.
        reason: why they can't be read from trace events.
        needs: what needs the trace events; empty if nothing does.

    Raises:
        UsageError: the trace events are needed, or the module does not write to the kernel log.
    """
    if needs:
        raise UsageError(f"{needs} needs the module's trace events: {reason}")
    try:
        value = module.parameter("log")
    except CheckFailed:  # it always writes to the kernel log
        return
    if value not in ("printk", "both"):
        raise UsageError(
            f"no calls can be shown: {reason}; nor are they in the kernel log: log={value}"
        )


def _meet(guest: Guest, channel: paramiko.Channel, interruption: Callable[[], None]) -> int | None:
    end = guest.clock() + guest.limit(10)
    while (pid := guest.agent.meet_next(0.1)) is None:
        interruption()
        if channel.exit_status_ready():
            return None
        if guest.clock() > end:
            raise GuestTimeout("the command was not started in time")
    return pid


@contextmanager
def _shown_after_errors(
    guest: Guest,
    pid: int,
    source: CallSource,
    show: Callable[[Iterable[Traced]], object],
    *,
    follow: bool,
) -> Iterator[None]:
    """End the command if an exception ends the block, and show what is left.

    Descendants that are followed are ended, too. The call that a thread is inside is shown without
    a result. If the guest does not answer, what has arrived is shown.

    Raises:
        GuestCrashed: the guest's kernel crashed, which explains an error of the block.
    """
    try:
        yield
    except GuestError as error:
        show(source.arrived())
        guest.health.raise_cause(error)
    except BaseException:
        _kill(guest, pid)
        try:
            if follow:
                source.kill()
            rest = source.rest()
        except GuestError:
            rest = source.arrived()
        show(rest)
        raise


@contextmanager
def _killed_by_errors(guest: Guest, pid: int) -> Iterator[None]:
    """Kill the command if an exception ends the block, unless it died with the guest."""
    try:
        yield
    except GuestCrashed:
        raise
    except BaseException:
        _kill(guest, pid)
        raise


def _kill(guest: Guest, pid: int) -> None:
    try:
        guest.agent.kill(-pid, signal.SIGKILL)  # the process group: the command and its children
    except GuestError:
        return
