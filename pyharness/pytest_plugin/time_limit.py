# SPDX-License-Identifier: GPL-2.0
"""Ends a test that takes too long, by the time in which its guests could run.

A limit by the wall clock fails tests because the host is busy. This one counts the time in which
all processes that the test process has started, such as QEMU, could run.
"""

import os
import signal
import threading
from collections.abc import Generator
from types import FrameType

import pytest

from pyharness.host.cpu_time import Clock

_LOOK_SECONDS = 1.0
# Nothing else in Python uses this signal. It interrupts whatever the main thread waits for.
_SIGNAL = signal.SIGVTALRM


def limit_of(item: pytest.Item) -> float:
    """Return the limit of a test in seconds; 0: none.

    Raises:
        pytest.UsageError: the limit is not a number of seconds.
    """
    marker = item.get_closest_marker("test_limit")
    given = item.config.getoption("test_limit")
    given = item.config.getini("test_limit") or 0 if given is None else given
    try:
        (value,) = marker.args if marker else (given,)
        limit = float(value)
    except (TypeError, ValueError):
        limit = -1.0
    if limit < 0:
        where = f"{item.nodeid}: test_limit" if marker else "pyharness: --test-limit"
        raise pytest.UsageError(f"{where} takes a number of seconds, such as 60")
    return limit


class Watchdog:
    """Interrupts the main thread once a limit has passed, unless it is stopped before."""

    def __init__(self, limit: float) -> None:
        """Begin to count.

        Args:
            limit: the limit, in seconds in which the processes below this one could run.
        """
        self._limit = limit
        self._stopped = threading.Event()
        self._before = signal.signal(_SIGNAL, self._interrupt)
        self._thread = threading.Thread(target=self._watch, name="test limit", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop counting."""
        self._stopped.set()
        self._thread.join()
        signal.signal(_SIGNAL, self._before)

    def _watch(self) -> None:
        clock = Clock(os.getpid(), children=True)
        while not self._stopped.wait(_LOOK_SECONDS):
            if clock() > self._limit:
                signal.pthread_kill(threading.main_thread().ident or 0, _SIGNAL)
                return

    def _interrupt(self, _number: int, _frame: FrameType | None) -> None:
        if not self._stopped.is_set():
            pytest.fail(
                f"the test did not end within {self._limit:g} s in which its guests could run:"
                " --test-limit or @pytest.mark.test_limit sets another limit"
            )


class TimeLimits:
    """A plugin that gives each test its limit."""

    def __init__(self) -> None:
        """Limit no test yet."""
        self._watchdog: Watchdog | None = None

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, object, object]:
        """Limit the test itself; fixtures have limits of their own."""
        limit = limit_of(item)
        if limit and threading.current_thread() is threading.main_thread():
            self._watchdog = Watchdog(limit)
        try:
            return (yield)
        finally:
            self._end()

    def pytest_enter_pdb(self) -> None:
        """Give the test all the time that its debugger needs."""
        self._end()

    def _end(self) -> None:
        watchdog, self._watchdog = self._watchdog, None
        if watchdog:
            watchdog.stop()
