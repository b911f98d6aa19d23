# SPDX-License-Identifier: GPL-2.0
"""Finds for each system call that was issued the event of its return. Pure."""

from pyharness.interceptor.event_log import Ended, Entered, Event, Gap, Returned
from pyharness.interceptor.traced_call import NO_RESULT, TracedCall, is_error, result
from pyharness.linux.syscalls import Syscalls

# No event tells of their return: a thread ends, or goes on where a signal has interrupted it.
_NEVER_RETURN = frozenset(("exit", "exit_group", "rt_sigreturn", "sigreturn"))
_EXECS = frozenset(("execve", "execveat"))


class Pairs:
    """Pairs events of threads, each of which is inside one system call at a time."""

    def __init__(self, syscalls: Syscalls, *, epoch_microseconds: int = 0) -> None:
        """Begin with no thread inside a call.

        Args:
            syscalls: the system calls of the kernel.
            epoch_microseconds: what to add to the time of an event for one since the epoch.
        """
        self._syscalls = syscalls
        self._epoch_microseconds = epoch_microseconds
        self._inside: dict[int, Entered] = {}

    def feed(self, event: Event | Gap) -> list[TracedCall]:
        """Take the next event or gap in order of time.

        The return of a call that was issued before a gap may be lost, and what looks like it may
        be that of a later call: such a call has no result.

        Returns:
            The calls that are complete: one that returned, or one whose return will not be seen.
        """
        if isinstance(event, Entered):
            return self._enter(event)
        if isinstance(event, Returned):
            return self._leave(event)
        if isinstance(event, Ended):
            inside = self._inside.pop(event.thread, None)
            return [self._call(inside)] if inside else []
        return self.rest() if isinstance(event, Gap) else []

    def _enter(self, event: Entered) -> list[TracedCall]:
        before = self._inside.pop(event.thread, None)
        complete = [self._call(before)] if before else []
        if event.syscall.name in _NEVER_RETURN:
            return [*complete, self._call(event)]
        self._inside[event.thread] = event
        return complete

    def _leave(self, event: Returned) -> list[TracedCall]:
        if event.syscall.name in _EXECS and event.value == 0:
            return self._exec(event)
        entered = self._inside.get(event.thread)
        # A child returns from a clone that its parent has issued.
        if entered is None or not self._is_same(entered, event):
            return []
        del self._inside[event.thread]
        return [self._call(entered, event)]

    def _exec(self, event: Returned) -> list[TracedCall]:
        """Complete an exec that succeeded.

        It ends the other threads of the process, and its own thread goes on with the id of the
        process. It returns by the ABI of the new program. x86 also replaces execveat by execve.
        """
        process = event.thread
        threads = [
            entered
            for entered in self._inside.values()
            if process in (entered.thread, entered.process)
        ]
        execs = [entered for entered in threads if entered.syscall.name in _EXECS]
        # If several threads are inside one, nothing says whose succeeded.
        own = next((entered for entered in execs if entered.thread == process), None)
        own = own or next(iter(execs), None)
        for entered in threads:
            del self._inside[entered.thread]
        ended = sorted(
            (entered for entered in threads if entered is not own),
            key=lambda entered: entered.microseconds,
        )
        complete = [self._call(entered) for entered in ended]
        return [*complete, self._call(own, event)] if own else complete

    def _is_same(self, entered: Entered, returned: Returned) -> bool:
        canonical = self._syscalls.canonical
        return canonical(entered.syscall) == canonical(returned.syscall)

    def rest(self) -> list[TracedCall]:
        """Return the calls that have not returned, in the order in which they were issued."""
        rest = sorted(self._inside.values(), key=lambda event: event.microseconds)
        self._inside.clear()
        return [self._call(event) for event in rest]

    def _call(self, entered: Entered, returned: Returned | None = None) -> TracedCall:
        process = entered.process or (returned.process if returned else None)
        return TracedCall(
            thread=entered.thread,
            process=process or entered.thread,
            program=entered.program,
            syscall=entered.syscall,
            args=entered.args,
            microseconds=entered.microseconds + self._epoch_microseconds,
            took_microseconds=returned.microseconds - entered.microseconds if returned else None,
            result=result(entered.syscall, returned.value) if returned else NO_RESULT,
            failed=returned is not None and is_error(returned.value),
        )
