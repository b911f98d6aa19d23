# SPDX-License-Identifier: GPL-2.0
"""What ends a command, as an exit status and a sentence. Pure."""

import errno
import signal

from pyharness.errors import HarnessError, HostError
from pyharness.host.signals import SIGNALS, Interrupted


def of(error: BaseException) -> tuple[int, str] | None:
    """The exit status of a command that raised an exception, and what to print (maybe nothing).

    Args:
        error: the exception.

    Returns:
        None if it is a mistake of this program, whose traceback is wanted.
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
