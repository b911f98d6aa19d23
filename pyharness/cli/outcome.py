# SPDX-License-Identifier: GPL-2.0
"""Translates the exception that ended a command into an exit status and a message. Pure."""

import errno
import signal

from pyharness.errors import HarnessError, HostError
from pyharness.host.signals import SIGNALS, Interrupted


def of(error: BaseException) -> tuple[int, str] | None:
    """Return the exit status and the message for an exception that ended a command.

    Args:
        error: the exception.

    Returns:
        The exit status, and the message, which may be empty; None if the exception is a bug of
        this program, for which Python has to print a traceback.
    """
    ended: tuple[int, str] | None = None
    match error:
        case HarnessError():
            ended = error.exit_code, str(error)
        case Interrupted():
            ended = 128 + error.number, str(error)
        case KeyboardInterrupt():
            ended = 128 + signal.SIGINT, SIGNALS[signal.SIGINT]
        case OSError(errno=errno.EPIPE):
            ended = 128 + signal.SIGPIPE, ""
        case OSError(errno=errno.EIO, filename=None):  # a terminal that was closed
            ended = 128 + signal.SIGHUP, ""
        case OSError(filename=str() | bytes() as name):
            ended = HostError.exit_code, f"{_text(name)}: {error.strerror or error}"
        case OSError():
            ended = HostError.exit_code, f"this host refuses: {error.strerror or error}"
    return ended


def _text(name: str | bytes) -> str:
    return name if isinstance(name, str) else name.decode(errors="surrogateescape")
