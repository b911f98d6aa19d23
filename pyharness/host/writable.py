# SPDX-License-Identifier: GPL-2.0
"""Check, before long work begins, that the files and folders that a user named can be written."""

import os
from pathlib import Path

from pyharness.errors import UsageError


def can_make_folder(folder: Path, what: str) -> None:
    """Check that a folder can be written to, or be created if it is missing.

    Args:
        folder: the folder's path.
        what: the option that names it, for the error message.

    Raises:
        UsageError: the folder can't be written to or created; the message says why.
    """
    there = folder.absolute()
    while not there.exists() and there != there.parent:
        there = there.parent
    if not there.is_dir():
        raise UsageError(f"{what}: {there} is not a folder: name another place")
    if not os.access(there, os.W_OK | os.X_OK):
        raise UsageError(f"{what}: {there} can't be written to: name another place")


def can_write(file: Path, what: str) -> None:
    """Check that a file can be written, and its folder be created if it is missing.

    Args:
        file: the file's path.
        what: the option that names it, for the error message.

    Raises:
        UsageError: the file can't be written; the message says why.
    """
    can_make_folder(file.parent, what)
    if file.is_dir():
        raise UsageError(f"{what}: {file} is a folder: name a file")
    if file.exists() and not os.access(file, os.W_OK):
        raise UsageError(f"{what}: {file} can't be written: name another file")
