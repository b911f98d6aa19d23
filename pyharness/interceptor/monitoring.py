# SPDX-License-Identifier: GPL-2.0
"""Intercepts system calls and monitors processes for some time, and restores what was before."""

import errno
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from pyharness.errors import GuestCrashed, GuestError
from pyharness.guest.undoing import undone
from pyharness.interceptor.module import Interceptor
from pyharness.interceptor.status import LISTED, Intercepted
from pyharness.linux.syscalls import SyscallRef


@contextmanager
def intercepted(module: Interceptor, calls: Sequence[SyscallRef]) -> Iterator[None]:
    """Intercept the calls that aren't intercepted yet, and release just those at the end.

    Args:
        module: the interceptor.
        calls: the calls.

    Raises:
        CheckFailed: a call can't be intercepted.
    """
    mine: list[SyscallRef] = []

    def release() -> None:
        for call in mine:
            module.release(call)

    with undone(release):
        for call in calls:
            result = module.intercept(call)
            if result.errno != errno.EBUSY:
                module.expect(result, 0, f"intercept {call}")
                mine.append(call)
        yield


def ended_by_others(
    module: Interceptor, calls: Sequence[SyscallRef], *, follow: bool
) -> list[SyscallRef]:
    """Return those of the calls that somebody else has released or ceased to monitor.

    Args:
        module: the interceptor, which may be unloaded.
        calls: the calls, which were intercepted.
        follow: whether every process was monitored for them.
    """
    if not module.interface.status:
        return []
    try:
        now = module.status()
    except GuestCrashed:
        raise
    except GuestError:  # there is no such file: the module is unloaded
        return [*calls]
    return [call for call in calls if call not in now or (follow and now[call].mode == LISTED)]


@contextmanager
def monitored(
    module: Interceptor,
    calls: Sequence[SyscallRef],
    before: Mapping[SyscallRef, Intercepted],
    pid: int,
    *,
    follow: bool,
) -> Iterator[None]:
    """Monitor a process, or every process, and restore at the end who else was monitored.

    Args:
        module: the interceptor.
        calls: the calls, which are intercepted.
        before: those that were intercepted before, with who was monitored.
        pid: the process.
        follow: whether processes that it creates are monitored, too, and so every process.

    Raises:
        CheckFailed: a call can't be monitored.
    """
    widened: list[SyscallRef] = []

    def narrow() -> None:
        for call in widened:
            module.stop(call, 0)
            for other in sorted(before[call].pids) if call in before else ():
                module.start(call, other)  # fails if it has ended

    with undone(narrow):
        for call in calls:
            entry = before.get(call)
            # Where everybody is monitored already, so is the process, which is new.
            everybody = follow and (entry is None or entry.mode == LISTED)
            if everybody:
                widened.append(call)
            started = module.start(call, 0 if everybody else pid)
            if started.errno != errno.EBUSY:
                module.expect(started, 0, f"start {call}")
        yield
