# SPDX-License-Identifier: GPL-2.0
"""Locks that show whether a process runs, also one of another container or of another host.

A process id means something only in its own PID namespace. A lock counts for all that see its
file, and the kernel releases it when the last process ends that has its descriptor open.
"""

import fcntl
import os
from pathlib import Path


def hold(path: Path) -> int:
    """Take the lock of a file that nobody else has locked; the file is made if it is missing.

    Returns:
        The descriptor that holds the lock until all its copies are closed; child processes inherit
        it only if they are given it.

    Raises:
        OSError: the file can't be made, or its file system has no locks.
    """
    lock = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)  # is_held() has the lock for less than a millisecond
    except OSError as error:
        os.close(lock)
        raise OSError(error.errno, error.strerror, str(path)) from error
    return lock


def is_held(path: Path) -> bool:
    """Whether a process holds the lock of a file."""
    try:
        lock = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False
