# SPDX-License-Identifier: GPL-2.0
"""Ctrl-C where something must not be left half done."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def held() -> Iterator[Callable[[], None]]:
    """Hold an interrupt back until it is asked for; another one comes through at once.

    An interrupt that is ignored stays so, and in a thread that never gets one nothing is held.

    Yields:
        What raises KeyboardInterrupt if there was an interrupt: to be called wherever what is
        done can be left.
    """
    before = signal.getsignal(signal.SIGINT)
    came = False

    def hold(_number: int, _frame: FrameType | None) -> None:
        nonlocal came
        came = True
        signal.signal(signal.SIGINT, before)

    def let_through() -> None:
        if came:
            raise KeyboardInterrupt

    if before == signal.SIG_IGN or threading.current_thread() is not threading.main_thread():
        yield let_through
        return
    signal.signal(signal.SIGINT, hold)
    try:
        yield let_through
    finally:
        signal.signal(signal.SIGINT, before)
    let_through()
