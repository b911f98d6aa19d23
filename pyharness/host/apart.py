# SPDX-License-Identifier: GPL-2.0
"""Run each call in a process of its own, so that one that breaks its process breaks no other.

ProcessPoolExecutor is no such thing: a process that ends makes all calls fail that are under way.
"""

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import Connection
from multiprocessing.connection import wait as wait_for
from multiprocessing.context import SpawnProcess
from types import TracebackType
from typing import ParamSpec, TypeVar

from pyharness.host import signals

_Result = TypeVar("_Result")
_Arguments = ParamSpec("_Arguments")
_SPAWN = multiprocessing.get_context("spawn")
# How long a process may take to end its guests after the request to end.
_END_SECONDS = 30.0


class ProcessEach(ThreadPoolExecutor):
    """An executor that starts a process for each call; a thread waits for each.

    Functions, arguments and results have to be such that pickle can send them. A call whose
    process ends without a result raises BrokenProcessPool. If an exception leaves the ``with``
    block, the processes are ended by SIGTERM. They end themselves if this process is killed.
    """

    def __init__(self, count: int) -> None:
        """Make an executor.

        Args:
            count: how many processes run at the same time.
        """
        super().__init__(count, thread_name_prefix="apart")
        self._running: set[SpawnProcess] = set()
        self._guard = threading.Lock()  # of the processes, and of whether more may start
        self._over = False

    def submit(
        self,
        fn: Callable[_Arguments, _Result],
        /,
        *args: _Arguments.args,
        **kwargs: _Arguments.kwargs,
    ) -> Future[_Result]:
        """Have a function called in a process of its own; see concurrent.futures.Executor."""
        return super().submit(self._apart, fn, args, kwargs)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind:
            self.stop()
        self.shutdown()

    def stop(self) -> None:
        """End all processes, and start no more."""
        with self._guard:
            self._over = True
            for process in self._running:
                process.terminate()
        self.shutdown(wait=False, cancel_futures=True)

    def _apart(
        self, function: Callable[..., _Result], args: tuple[object, ...], kwargs: dict[str, object]
    ) -> _Result:
        ours, its = _SPAWN.Pipe(duplex=False)
        with ours:
            process = _SPAWN.Process(target=_call, args=(its, function, args, kwargs))
            with its, self._guard:
                if self._over:
                    raise BrokenProcessPool("no process is started any more")
                process.start()
                self._running.add(process)
            try:
                result: _Result = ours.recv()
            except (EOFError, OSError) as error:
                process.join(_END_SECONDS)
                raise BrokenProcessPool(f"its process ended, {_how(process)}") from error
            finally:
                process.join(_END_SECONDS)
                if process.is_alive():
                    process.kill()
                with self._guard:
                    self._running.discard(process)
            return result


def _how(process: SpawnProcess) -> str:
    code = process.exitcode
    if code is None or code >= 0:
        return f"with exit status {code}"
    return f"killed by signal {-code}"


def _call(
    sender: Connection,
    function: Callable[..., object],
    args: tuple[object, ...],
    kwargs: dict[str, object],
) -> None:
    """Call a function in this process, and send what it returns."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which then ends this
    signals.install()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        sender.send(function(*args, **kwargs))
    except signals.Interrupted as error:
        sys.exit(128 + error.number)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent, "this is a process that multiprocessing has started"
    wait_for([parent.sentinel])
    os.kill(os.getpid(), signal.SIGTERM)
