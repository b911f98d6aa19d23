# SPDX-License-Identifier: GPL-2.0
"""The time in which a process could run, without delays by a busy host or a stop signal."""

import time
from contextlib import suppress

import psutil

# The clock's resolution: it reads /proc at most this often.
_PERIOD_SECONDS = 0.25
# Callers poll at least this often; of a longer gap we can't tell how much the process could run,
# so that no more than this is counted.
_GAP_SECONDS = 2.5


class Clock:
    """Seconds in which the threads of a process, and of those that it started, could run.

    A time limit that is measured with this clock does not expire because the host was busy,
    or the process was stopped. Time in which the process slept by its own will counts.
    """

    def __init__(self, pid: int, *, children: bool = False) -> None:
        """Start at 0.

        Args:
            pid: the process.
            children: whether time in which a process below it waited for a CPU does not count
                either.
        """
        self._pid = pid
        self._children = children
        self._given = 0.0
        self._looked = time.monotonic()
        self._waited = self._waits()

    def __call__(self) -> float:
        """The seconds so far, with a resolution of a quarter of a second."""
        now = time.monotonic()
        if (passed := now - self._looked) >= _PERIOD_SECONDS:
            waited = self._waits()
            late = max(
                (s - self._waited.get(thread, 0.0) for thread, s in waited.items()), default=0.0
            )
            if not self._is_stopped():
                self._given += max(0.0, min(passed, _GAP_SECONDS) - late)
            self._looked, self._waited = now, waited
        return self._given

    def rewind(self, seconds: float) -> None:
        """Go on from an earlier reading: what passed since then does not count.

        Args:
            seconds: what the clock read then.
        """
        self._given = min(self._given, seconds)
        self._looked, self._waited = time.monotonic(), self._waits()

    def _waits(self) -> dict[int, float]:
        """How long each thread has waited for a CPU so far, in seconds, by thread id."""
        try:
            process = psutil.Process(self._pid)
            below = process.children(recursive=True) if self._children else []
        except psutil.Error:
            return {}
        waits: dict[int, float] = {}
        for one in (process, *below):
            with suppress(psutil.Error, OSError):
                waits |= _waits_of(one)
        return waits

    def _is_stopped(self) -> bool:
        try:
            return psutil.Process(self._pid).status() == psutil.STATUS_STOPPED
        except psutil.Error:
            return False


def _waits_of(process: psutil.Process) -> dict[int, float]:
    """How long each thread of a process has waited for a CPU, in seconds, by thread id.

    ``schedstat`` has the time that the thread ran, the time that it waited, both in ns, and how
    often it ran.
    """
    waits = {}
    for thread in process.threads():
        path = f"/proc/{process.pid}/task/{thread.id}/schedstat"
        with open(path, encoding="ascii") as file:  # noqa: PTH123
            waits[thread.id] = int(file.read().split()[1]) / 1e9
    return waits
