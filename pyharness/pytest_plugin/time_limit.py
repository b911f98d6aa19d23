# SPDX-License-Identifier: GPL-2.0
"""Ends a test that takes too long, by the time in which its guests could run.

A limit by the wall clock fails tests because the host is busy. This one counts the time in which
all processes that the test process has started, such as QEMU, could run.
"""

import os
import signal
import threading
import time
from collections.abc import Generator
from types import FrameType

import pytest

from pyharness.host.cpu_time import Clock

_LOOK_SECONDS = 1.0
# A test that goes on after it was interrupted, such as in its clean-up, is interrupted again.
_AGAIN_SECONDS = 10.0
# A test whose own processes keep the host busy ends after this many times its limit.
_MOST_TIMES = 20
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
        (value,) = (*marker.args, *marker.kwargs.values()) if marker else (given,)
        limit = float(value)
        known = not marker or marker.kwargs.keys() <= {"seconds"}
    except (TypeError, ValueError):
        known, limit = False, 0.0
    if not known or not 0 <= limit < float("inf"):
        where = f"{item.nodeid}: test_limit" if marker else "pyharness: --test-limit"
        raise pytest.UsageError(f"{where} takes a number of seconds, such as 60")
    return limit


class Watchdog:
    """Interrupts the main thread once a limit has passed, until it is stopped or lifted."""

    def __init__(self, limit: float) -> None:
        """Begin to count.

        Args:
            limit: the limit, in seconds in which the processes below this one could run.
        """
        self.exceeded = False
        self._limit = limit
        self._lifted = threading.Event()
        self._before = signal.signal(_SIGNAL, self._interrupt)
        self._thread = threading.Thread(target=self._watch, name="test limit", daemon=True)
        self._thread.start()

    def lift(self) -> None:
        """Interrupt nothing from now on; may be called in any thread."""
        self._lifted.set()

    def stop(self) -> None:
        """Stop counting; to be called once, in the main thread."""
        self._lifted.set()
        self._thread.join()
        signal.signal(_SIGNAL, self._before)

    def fail(self) -> None:
        """Fail the test, as its limit has passed."""
        __tracebackhide__ = True
        pytest.fail(
            f"the test did not end within {self._limit:g} s in which its guests could run:"
            " --test-limit or @pytest.mark.test_limit sets another limit"
        )

    def _watch(self) -> None:
        clock, begin = Clock(os.getpid(), children=True), time.monotonic()
        while not self._lifted.wait(_LOOK_SECONDS):
            if clock() > self._limit or time.monotonic() - begin > _MOST_TIMES * self._limit:
                break
        self.exceeded = not self._lifted.is_set()
        while not self._lifted.is_set():
            signal.pthread_kill(threading.main_thread().ident or 0, _SIGNAL)
            self._lifted.wait(_AGAIN_SECONDS)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        __tracebackhide__ = True
        if self.exceeded and not self._lifted.is_set():
            self.fail()
        elif callable(self._before):  # of a run of pytest that this one is a test of
            self._before(number, frame)


class TimeLimits:
    """A plugin that gives each test its limit."""

    def __init__(self) -> None:
        """Limit no test yet."""
        self._watchdog: Watchdog | None = None

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, object, object]:
        """Limit the test itself; fixtures have limits of their own."""
        limit = limit_of(item)
        if not limit or threading.current_thread() is not threading.main_thread():
            return (yield)
        watchdog = self._watchdog = Watchdog(limit)
        try:
            result = yield
        finally:
            self._watchdog = None
            watchdog.stop()
        if watchdog.exceeded:  # the test has caught the exception that was to end it
            watchdog.fail()
        return result

    def pytest_enter_pdb(self) -> None:
        """Give the test all the time that its debugger needs."""
        if self._watchdog:
            self._watchdog.lift()
            self._watchdog.exceeded = False
