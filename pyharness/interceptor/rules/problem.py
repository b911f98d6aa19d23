# SPDX-License-Identifier: GPL-2.0
"""Why a module could not be checked to the end, if the reason is not the module."""

import traceback
from pathlib import Path

from pyharness.errors import GuestError, HarnessError, HostError

_FRAMES = 5  # of a traceback, in the sentence


def reason(error: Exception) -> tuple[str, int]:
    """Return why a module could not be checked, in a sentence, and the exit status of that.

    Args:
        error: what was raised; any exception, as a bug must not leave others without a report.
    """
    if isinstance(error, HarnessError):
        return str(error), max(error.exit_code, 2)
    if isinstance(error, OSError):
        return f"this host refuses: {error}", HostError.exit_code
    frames = reversed(traceback.extract_tb(error.__traceback__)[-_FRAMES:])
    where = " from ".join(f"{Path(at.filename).name}:{at.lineno}" for at in frames)
    return f"a bug of pyharness: {type(error).__name__} in {where}: {error}", GuestError.exit_code
