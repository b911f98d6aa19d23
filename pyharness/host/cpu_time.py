# SPDX-License-Identifier: GPL-2.0
"""The time that a machine was given: a host that is busy, or stops QEMU, takes none of it."""

import time

import psutil

_PERIOD = 0.25
# Who waits looks at least this often; what went on in a longer gap nobody knows (s).
_GAP = 2.5


class Clock:
    """Seconds in which the threads of a process could run.

    A limit that is counted so is not over just because the host had other
    things to do. Time in which the process slept by its own will counts.
    """

    def __init__(self, pid: int) -> None:
        """Begin at 0."""
        self._pid = pid
        self._given = 0.0
        self._looked = time.monotonic()
        self._waited = self._waits()

    def __call__(self) -> float:
        """The seconds so far, to a quarter of a second."""
        now = time.monotonic()
        if (passed := now - self._looked) >= _PERIOD:
            waited = self._waits()
            late = max(
                (s - self._waited.get(thread, 0.0) for thread, s in waited.items()), default=0.0
            )
            if not self._is_stopped():
                self._given += max(0.0, min(passed, _GAP) - late)
            self._looked, self._waited = now, waited
        return self._given

    def _waits(self) -> dict[int, float]:
        """How long each thread has waited for a CPU (schedstat: ran, waited, both in ns; times)."""
        waits = {}
        try:
            for thread in psutil.Process(self._pid).threads():
                path = f"/proc/{self._pid}/task/{thread.id}/schedstat"
                with open(path, encoding="ascii") as file:  # noqa: PTH123
                    waits[thread.id] = int(file.read().split()[1]) / 1e9
        except (psutil.Error, OSError):
            return waits
        return waits

    def _is_stopped(self) -> bool:
        try:
            return psutil.Process(self._pid).status() == psutil.STATUS_STOPPED
        except psutil.Error:
            return False
