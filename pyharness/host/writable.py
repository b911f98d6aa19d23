# SPDX-License-Identifier: GPL-2.0
"""Whether there can be written to what a user named, found out before it takes long."""

import os
from pathlib import Path

from pyharness.errors import UsageError


def can_make_folder(folder: Path, what: str) -> None:
    """Make sure that a folder can be written to, or made if there is none.

    Args:
        folder: its path.
        what: the option that names it, for the error's message.

    Raises:
        UsageError: it can't.
    """
    there = folder.absolute()
    while not there.exists() and there != there.parent:
        there = there.parent
    if not there.is_dir():
        raise UsageError(f"{what}: {there} is not a folder: name another place")
    if not os.access(there, os.W_OK | os.X_OK):
        raise UsageError(f"{what}: {there} can't be written to: name another place")


def can_write(file: Path, what: str) -> None:
    """Make sure that a file can be written, and its folder be made; see can_make_folder().

    Raises:
        UsageError: it can't.
    """
    can_make_folder(file.parent, what)
    if file.is_dir():
        raise UsageError(f"{what}: {file} is a folder: name a file")
    if file.exists() and not os.access(file, os.W_OK):
        raise UsageError(f"{what}: {file} can't be written: name another file")
