# SPDX-License-Identifier: GPL-2.0
"""The signals that end a command: Ctrl-C, SIGTERM, and SIGHUP when its terminal is closed."""

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
# How long a process and its children may take to clean up, and then to end once killed.
_LEAVE_SECONDS = 10.0


class Interrupted(KeyboardInterrupt):
    """Raised when a signal ends this command.

    Attributes:
        number: the signal's number.
    """

    def __init__(self, number: int) -> None:
        super().__init__(SIGNALS[signal.Signals(number)])
        self.number = number


class _Clean:
    """The process's clean-up.

    Attributes:
        up: whether a signal has come, and this process is cleaning up.
    """

    up = False


def install() -> None:
    """Make each of the signals raise Interrupted, unless it is ignored (nohup, ``&`` in a shell).

    During the clean-up that follows, only Ctrl-C raises it again: timeout(1) and a closed
    terminal send their signals more than once.
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
    """Redirect standard output and error to /dev/null if nothing reads them any more.

    Writing to a terminal or pipe that is gone fails, and would abort the clean-up.
    """
    for stream in _dead(1, 2):
        silence(stream)


def check_output() -> None:
    """Check that something still reads standard output.

    Raises:
        BrokenPipeError: nothing does.
    """
    if _dead(1):
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))


def _dead(*streams: int) -> list[int]:
    """The file descriptors, of those given, whose terminal or pipe is gone."""
    poll = select.poll()
    for stream in streams:
        poll.register(stream, 0)
    return [stream for stream, event in poll.poll(0) if event & (select.POLLERR | select.POLLHUP)]


def silence(stream: int) -> None:
    """Redirect a file descriptor to /dev/null."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    if nowhere != stream:
        os.dup2(nowhere, stream)
        os.close(nowhere)


class _Hold:
    """A signal handler that only records signals.

    Attributes:
        came: the signals that came, in order.
        interrupt: the handler that Ctrl-C had before; it is called for a Ctrl-C that follows
            another signal.
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
    """Hold the signals back during a block; a Ctrl-C that follows another signal is not held.

    Signals that are ignored stay ignored. Only the main thread receives signals, so that in any
    other thread nothing is held.

    Yields:
        A function that raises Interrupted if a signal has come. The caller calls it wherever
        the work can be left.

    Raises:
        Interrupted: a signal came during the block, which has ended without an exception.
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
def ctrl_c_is_for_the_child() -> Iterator[None]:
    """Ignore Ctrl-C during a block in which a program in the same terminal has its own use for it.

    A program that is started in the block does not ignore it.
    """
    before = signal.signal(signal.SIGINT, lambda _number, _frame: None)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def ended(
    process: "subprocess.Popen[str] | subprocess.Popen[bytes]", *, gently: bool = False
) -> Iterator[None]:
    """Wait for a process at the end of a block; if the block raises an exception, kill it.

    The process's pipes are read until no process has them open, so that its children have
    ended, too.

    Args:
        process: the process.
        gently: whether it gets a SIGTERM first, and 10 seconds to clean up.
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
