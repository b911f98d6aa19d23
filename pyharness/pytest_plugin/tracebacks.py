# SPDX-License-Identifier: GPL-2.0
"""Shortens the tracebacks of this package's errors to the test's own lines, and the error."""

from itertools import zip_longest
from types import TracebackType

import pytest

# The classes that represent a failure in a report; pytest has no public names for them.
from _pytest._code.code import ExceptionChainRepr, ReprFileLocation

from pyharness.errors import HarnessError
from pyharness.guest import open_file

_PACKAGE = "pyharness"
_PYTEST = ("_pytest", "pluggy")


def _package_of(trace: TracebackType) -> str:
    return str(trace.tb_frame.f_globals.get("__name__", "")).partition(".")[0]


def _frames(error: BaseException) -> list[TracebackType]:
    frames, trace = [], error.__traceback__
    while trace:
        frames.append(trace)
        trace = trace.tb_next
    return frames


def is_reported(error: BaseException) -> bool:
    """Return whether this package raised an error on purpose, so that its message is enough.

    These are its own exceptions, and the OSErrors of files in the guest.
    """
    frames = _frames(error)
    if not frames or _package_of(frames[-1]) != _PACKAGE:
        return False
    by_kernel = frames[-1].tb_frame.f_globals["__name__"] == open_file.__name__
    return isinstance(error, HarnessError) or by_kernel


def forget_cause(error: BaseException) -> None:
    """Hide the cause of an error if this package caught it, to raise the error on purpose."""
    cause = error.__cause__ or error.__context__
    if cause and is_reported(error):
        frames = _frames(cause)
        if frames and _package_of(frames[0]) == _PACKAGE:
            error.__cause__, error.__suppress_context__ = None, True


def hide_frames(error: BaseException) -> None:
    """Remove this package's frames from the traceback of an error that it raised on purpose.

    If no frames but pytest's are left, these are removed as well.
    """
    if not is_reported(error):
        return
    kept = [trace for trace in _frames(error) if _package_of(trace) != _PACKAGE]
    if all(_package_of(trace) in _PYTEST for trace in kept):
        kept = []
    # The entries are changed in place: pytest walks from one to the next by tb_next.
    for trace, following in zip_longest(kept, kept[1:]):
        trace.tb_next = following
    error.__traceback__ = kept[0] if kept else None


def _with_causes(error: BaseException) -> list[BaseException]:
    """Return an error, its cause, the cause of that, and so on; each once, as a cycle may occur."""
    found: list[BaseException] = []
    following: BaseException | None = error
    while following is not None and not any(following is one for one in found):
        found.append(following)
        following = following.__cause__
    return found


def shorten(excinfo: pytest.ExceptionInfo[BaseException]) -> None:
    """Hide this package's frames of the error that failed a test, and of each of its causes."""
    for error in _with_causes(excinfo.value):
        hide_frames(error)
    shown = {(trace.tb_frame, trace.tb_lineno) for trace in _frames(excinfo.value)}
    excinfo.traceback = excinfo.traceback.filter(
        lambda entry: (entry.frame.raw, entry.lineno + 1) in shown
    )


def place(report: pytest.TestReport, error: BaseException) -> None:
    """Give a report without a crash location the test's own, for pytest's summary.

    Args:
        report: the report.
        error: the error that it shows.
    """
    shown = report.longrepr
    if isinstance(shown, ExceptionChainRepr) and shown.reprcrash is None:
        file, line, _ = report.location
        message = f"{type(error).__module__}.{type(error).__qualname__}: {error}"
        crash = ReprFileLocation(file, (line or 0) + 1, message)
        trace, _, description = shown.chain[-1]
        for entry in trace.reprentries:  # each line of an error begins with "E" in pytest's output
            entry.lines = [f"E{line[1:]}" for line in entry.lines]
        # A worker of pytest-xdist sends only the chain; the rest is made from it again.
        report.longrepr = ExceptionChainRepr([*shown.chain[:-1], (trace, crash, description)])
