# SPDX-License-Identifier: GPL-2.0
"""Where a traced command's calls are read: from trace events, or from the kernel log."""

import signal
from collections.abc import Sequence
from typing import Protocol

from pyharness.guest.guest import Guest
from pyharness.interceptor import event_log
from pyharness.interceptor.call_pairs import Pairs
from pyharness.interceptor.event_log import Delivered, Event, Gap, InOrder, Lost
from pyharness.interceptor.module import Interceptor
from pyharness.interceptor.traced import Traced
from pyharness.interceptor.traced_call import TracedCall
from pyharness.interceptor.traced_end import Ends
from pyharness.interceptor.traced_signal import TracedSignal
from pyharness.linux.syscalls import Syscalls


class CallSource(Protocol):
    """Calls of processes that are monitored; from some sources, also their signals and ends."""

    @property
    def lost(self) -> int:
        """The number of records that were overwritten before they were read."""

    def fetch(self) -> Sequence[Traced]:
        """Return what was not returned yet."""

    def kill(self) -> None:
        """Kill the command's descendants, as far as they are known."""

    def rest(self) -> Sequence[Traced]:
        """Return what is left when the command has ended."""

    def arrived(self) -> Sequence[Traced]:
        """Return what is left if the guest does not answer any more."""

    def close(self) -> None:
        """Restore what was changed."""


class LoggedCalls:
    """The calls in the kernel log, without results."""

    def __init__(self, guest: Guest, module: Interceptor) -> None:
        """Read those that are logged from now on."""
        self._guest = guest
        self._module = module
        self._lost_before = guest.log.lost
        self._next = guest.log.mark()

    @property
    def lost(self) -> int:
        """The number of records that were overwritten before they were read."""
        return self._guest.log.lost - self._lost_before

    def fetch(self) -> list[TracedCall]:
        """Return the calls that were not returned yet."""
        calls = [TracedCall.of_log(call) for call in self._module.logged(self._next)]
        self._next = self._guest.log.next
        return calls

    def kill(self) -> None:
        """Do nothing: the kernel log does not say who the command's descendants are."""

    def rest(self) -> list[TracedCall]:
        """Return the calls that are left when the command has ended."""
        return self.fetch()

    def arrived(self) -> list[TracedCall]:
        """Return none: those that are left are in the guest."""
        return []

    def close(self) -> None:
        """Do nothing, as nothing was changed."""


class EventLines(Protocol):
    """The lines of trace_pipe; EventStream has them.

    Attributes:
        epoch_microseconds: what to add to the time of an event for one since the epoch.
    """

    epoch_microseconds: int

    def fetch(self) -> list[str]:
        """Return the lines that have arrived."""

    def kill(self) -> None:
        """Kill the command and all its descendants."""

    def drain(self) -> list[str]:
        """End the recording, and return the lines that are left."""

    def close(self) -> None:
        """Restore what was changed."""


class RecordedCalls:
    """The calls in trace events, with results, and signals and ends."""

    def __init__(self, syscalls: Syscalls, release: str, stream: EventLines) -> None:
        """Read those of a stream.

        Args:
            syscalls: the system calls of the guest's kernel.
            release: the release of that kernel.
            stream: the lines.
        """
        self._syscalls = syscalls
        self._stream = stream
        self._order = InOrder()
        self._epoch_microseconds = stream.epoch_microseconds
        self._pairs = Pairs(syscalls, epoch_microseconds=stream.epoch_microseconds)
        self._ends = Ends(release, epoch_microseconds=stream.epoch_microseconds)
        self._lost = 0
        self._gap = False  # whether events were lost before the next one

    @property
    def lost(self) -> int:
        """The number of events that were overwritten before they were read."""
        return self._lost

    def fetch(self) -> list[Traced]:
        """Return the calls that are complete, and the rest that was not returned yet."""
        return self._feed(self._order.push(self._parsed(self._stream.fetch())))

    def kill(self) -> None:
        """Kill the command and all its descendants."""
        self._stream.kill()

    def rest(self) -> list[Traced]:
        """Return what is left when the command has ended."""
        return self._last(self._stream.drain())

    def arrived(self) -> list[Traced]:
        """Return what is left if the guest does not answer any more."""
        return self._last(self._stream.fetch())

    def close(self) -> None:
        """End the recording, and restore the module's parameter."""
        self._stream.close()

    def _last(self, lines: list[str]) -> list[Traced]:
        events = self._order.push(self._parsed(lines))
        return [*self._feed([*events, *self._order.rest()]), *self._pairs.rest()]

    def _parsed(self, lines: list[str]) -> list[Event | Gap]:
        events: list[Event | Gap] = []
        for line in lines:
            event = event_log.parse(line, self._syscalls)
            if isinstance(event, Lost):
                self._lost += event.number
                self._gap = True
            elif event:
                if self._gap:
                    events.append(Gap(event.microseconds))
                    self._gap = False
                events.append(event)
        return events

    def _feed(self, events: list[Event | Gap]) -> list[Traced]:
        return [
            traced
            for event in events
            for traced in (
                *self._pairs.feed(event),
                *self._signals(event),
                *self._ends.feed(event),
            )
        ]

    def _signals(self, event: Event | Gap) -> list[TracedSignal]:
        # The kernel has this event of SIGKILL whenever another thread or another signal has ended
        # the process. As strace, show the end alone.
        if not isinstance(event, Delivered) or event.signal == signal.SIGKILL:
            return []
        return [TracedSignal.of_event(event, epoch_microseconds=self._epoch_microseconds)]
