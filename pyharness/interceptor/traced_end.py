# SPDX-License-Identifier: GPL-2.0
"""How threads and processes of a traced command have ended. Pure."""

import os
from dataclasses import dataclass, replace
from typing import ClassVar

from pyharness.interceptor.event_log import Ended, Event, Gap
from pyharness.interceptor.traced import Traced
from pyharness.linux import kernel_release
from pyharness.linux.signal_names import signal_name

# Since d80f7d7b2c75 (6.0), the last thread to end decides the status of its process. Before, it did
# so only if it has ended the process, by exit_group() or a signal; otherwise, the first thread did.
_LAST_DECIDES = (">=6.1",)
# The kernel does not use the id of a process again so soon.
_LATE_MICROSECONDS = 1_000_000


@dataclass(frozen=True, kw_only=True)
class TracedEnd(Traced):
    """The end of a thread of a traced command; that of its first thread is the process's end.

    Attributes:
        status: how it has ended, as wait(2) encodes it; None if that is not known.
    """

    kind: ClassVar[str] = "exit"
    status: int | None

    @property
    def name(self) -> str:
        """How it has ended: ``exited with 3``, ``killed by SIGSEGV (core dumped)``."""
        if self.status is None:
            return "exited"
        if not os.WIFSIGNALED(self.status):
            return f"exited with {os.WEXITSTATUS(self.status)}"
        dumped = " (core dumped)" if os.WCOREDUMP(self.status) else ""
        return f"killed by {signal_name(os.WTERMSIG(self.status))}{dumped}"

    def __str__(self) -> str:
        """Return it as strace prints it: ``[1207] +++ exited with 3 +++``."""
        return f"[{self.thread}] +++ {self.name} +++"


class Ends:
    """Finds out from the ends of threads how processes have ended.

    A process has the id of its first thread, and lasts until its last thread has ended. As with
    strace, the first thread ends with the process, though it may have left before.
    """

    def __init__(self, release: str, *, epoch_microseconds: int = 0) -> None:
        """Begin with no thread that has ended.

        Args:
            release: the release of the kernel.
            epoch_microseconds: what to add to the time of an event for one since the epoch.
        """
        self._last_decides = kernel_release.matches(release, _LAST_DECIDES)
        self._epoch_microseconds = epoch_microseconds
        self._left: dict[int, Ended] = {}  # the first threads of processes that go on
        self._over: dict[int, int] = {}  # when processes have ended, by their ids

    def feed(self, event: Event | Gap) -> list[TracedEnd]:
        """Take the next event or gap in order of time, and return what has ended."""
        if isinstance(event, Gap):
            # Another process may have got the id of one of them.
            self._left.clear()
            self._over.clear()
        if not isinstance(event, Ended):
            return []
        if event.last:
            return self._last(event)
        if self._is_late(event):
            return []
        if event.process in (event.thread, None):  # it is, or may be, a first thread
            self._left[event.thread] = event
            return []
        return [self._end(event, event.status)]

    def _is_late(self, event: Ended) -> bool:
        """Whether it is the end of the first thread of a process that is shown as ended already.

        The kernel counts a thread as ended a moment before its event; meanwhile, the event of the
        last thread may come.
        """
        over = self._over.pop(event.thread, None)
        return over is not None and event.microseconds - over < _LATE_MICROSECONDS

    def _last(self, event: Ended) -> list[TracedEnd]:
        """Return the end of a process's last thread, and that of the process."""
        own = self._end(event, event.status)
        process = event.process or event.thread
        self._over[process] = event.microseconds
        first = self._left.pop(process, None)
        if process == event.thread:
            return [own]
        program = first.program if first else ""
        whole = replace(event, thread=process, program=program)
        return [own, self._end(whole, self._status(first, event))]

    def _status(self, first: Ended | None, last: Ended) -> int | None:
        """Return how a process has ended whose first thread is not the last one."""
        same = first is not None and first.status == last.status
        if self._last_decides or same or os.WIFSIGNALED(last.status):
            return last.status
        return None

    def _end(self, event: Ended, status: int | None) -> TracedEnd:
        return TracedEnd(
            thread=event.thread,
            process=event.process or event.thread,
            program=event.program,
            microseconds=event.microseconds + self._epoch_microseconds,
            status=status,
        )
