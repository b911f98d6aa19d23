# SPDX-License-Identifier: GPL-2.0
"""A thread that lasts as long as this process, for what must not depend on the caller's thread."""

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from functools import cache
from typing import Any, TypeVar

_Result = TypeVar("_Result")


def call(function: Callable[[], _Result], *, undo: Callable[[_Result], object]) -> _Result:
    """Call a function in the thread, and return its result, or raise its exception.

    Args:
        function: the function. It should be quick, as other callers wait meanwhile.
        undo: called with the result if this thread is interrupted before it has the result.
    """
    future: Future[_Result] = Future()

    def fulfil() -> None:
        if future.set_running_or_notify_cancel():
            try:
                future.set_result(function())
            except BaseException as error:
                future.set_exception(error)

    def undo_it(done: Future[_Result]) -> None:
        if not done.exception():
            undo(done.result())

    try:
        _loop(os.getpid()).call_soon_threadsafe(fulfil)
        return future.result()
    except BaseException:
        if not future.cancel():
            future.add_done_callback(undo_it)
        raise


def run(coroutine: Coroutine[Any, Any, _Result]) -> _Result:
    """Run a coroutine in the thread; the caller's thread may have an event loop of its own.

    If this thread is interrupted, the coroutine is cancelled.
    """
    future = asyncio.run_coroutine_threadsafe(coroutine, _loop(os.getpid()))
    try:
        return future.result()
    except BaseException:
        future.cancel()
        raise


@cache
def _loop(_pid: int) -> asyncio.AbstractEventLoop:
    """Start the thread of a process, and return its event loop; a fork does not have the thread."""
    loop = asyncio.new_event_loop()
    # A daemon: the process does not wait for its end, so it lasts longer than all others.
    threading.Thread(target=loop.run_forever, name="pyharness", daemon=True).start()
    return loop
