# SPDX-License-Identifier: GPL-2.0
"""The signals that end a command: Ctrl-C, SIGTERM, and SIGHUP of a terminal that is closed."""

import errno
import os
import select
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

SIGNALS = {
    signal.SIGINT: "interrupted",
    signal.SIGTERM: "terminated",
    signal.SIGHUP: "hung up",
}
# How long a process and its children may take to clean up and to end (s).
_LEAVE_SECONDS = 10.0


class Interrupted(KeyboardInterrupt):
    """A signal ends this command.

    Attributes:
        number: the signal's.
    """

    def __init__(self, number: int) -> None:
        super().__init__(SIGNALS[signal.Signals(number)])
        self.number = number


class _Clean:
    """Whether a signal has come, and this process cleans up."""

    up = False


def install() -> None:
    """Have each of the signals raise Interrupted, once, unless it is ignored (nohup, &).

    Of those that follow, only Ctrl-C interrupts the clean-up: timeout(1) and a terminal that
    is closed send theirs more than once.
    """
    for number in SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _interrupt)


def _interrupt(number: int, _frame: FrameType | None) -> None:
    if _Clean.up and number != signal.SIGINT:
        return
    _end(number)


def _end(number: int) -> None:
    _Clean.up = True
    drop_dead_streams()
    raise Interrupted(number)


def drop_dead_streams() -> None:
    """Connect standard output and error with /dev/null where nobody reads them any more.

    What is written to a terminal or pipe that is gone fails, and would break off the clean-up.
    """
    for stream in _dead(1, 2):
        silence(stream)


def check_output() -> None:
    """Make sure that somebody reads standard output.

    Raises:
        BrokenPipeError: nobody does any more.
    """
    if _dead(1):
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))


def _dead(*streams: int) -> list[int]:
    """Those of the streams that lead to a terminal or pipe that is gone."""
    poll = select.poll()
    for stream in streams:
        poll.register(stream, 0)
    return [stream for stream, event in poll.poll(0) if event & (select.POLLERR | select.POLLHUP)]


def silence(stream: int) -> None:
    """Connect a file descriptor with /dev/null."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    if nowhere != stream:
        os.dup2(nowhere, stream)
        os.close(nowhere)


class _Hold:
    """A handler that holds signals back.

    Attributes:
        came: the signals that came.
        interrupt: what Ctrl-C does where nothing is held; the second one does it.
    """

    def __init__(self, interrupt: object) -> None:
        self.came: list[int] = []
        self.interrupt = interrupt

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self.came and number == signal.SIGINT and callable(self.interrupt):
            self.interrupt(number, frame)
        self.came.append(number)


@contextmanager
def held() -> Iterator[Callable[[], None]]:
    """Hold the signals back until they are asked for; Ctrl-C comes through when it is the second.

    A signal that is ignored stays so, and in a thread that never gets one nothing is held.

    Yields:
        What raises Interrupted if there was a signal: to be called wherever what is done can
        be left.
    """
    before = signal.getsignal(signal.SIGINT)
    hold = _Hold(before.interrupt if isinstance(before, _Hold) else before)

    def let_through() -> None:
        if hold.came:
            _end(hold.came[0])

    if threading.current_thread() is not threading.main_thread():
        yield let_through
        return
    handlers = {
        number: handler
        for number in SIGNALS
        if (handler := signal.getsignal(number)) != signal.SIG_IGN
    }
    for number in handlers:
        signal.signal(number, hold)
    try:
        yield let_through
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    let_through()


@contextmanager
def ended(
    process: "subprocess.Popen[str] | subprocess.Popen[bytes]", *, gently: bool = False
) -> Iterator[None]:
    """Wait for a process at the block's end; where the block is left by an exception, end it.

    What it writes to a pipe is read until nobody has that open, so that its children are
    gone, too.

    Args:
        process: the one to wait for.
        gently: it is asked to end first, and has some seconds to clean up.
    """
    with process:
        try:
            yield
        except BaseException:
            if gently:
                process.terminate()
                with suppress(subprocess.TimeoutExpired):
                    process.communicate(timeout=_LEAVE_SECONDS)
            process.kill()
            with suppress(subprocess.TimeoutExpired):
                process.communicate(timeout=_LEAVE_SECONDS)
            raise
