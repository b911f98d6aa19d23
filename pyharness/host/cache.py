# SPDX-License-Identifier: GPL-2.0
"""This user's cache of images, saved states and modules: its folders, locks, and errors."""

import errno
import fcntl
import os
import shlex
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path

from platformdirs import user_cache_path

from pyharness.errors import HostError, UsageError

CACHE_VARIABLE = "PYHARNESS_CACHE"
RUN_VARIABLE = "PYHARNESS_RUN"
_UNUSED_SECONDS = 7 * 24 * 3600.0


def folder() -> Path:
    """The cache's folder, made if need be; ``PYHARNESS_CACHE`` names another.

    Raises:
        UsageError: what it names is no absolute path.
        HostError: the folder can't be made, or there is no place for it.
    """
    path = _named(CACHE_VARIABLE) or _users_cache()
    with as_host_error():
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        return path.resolve()


def _users_cache() -> Path:
    try:
        path = user_cache_path("pyharness")
    except RuntimeError:  # what platformdirs raises depends on its version
        path = Path("~")
    if not path.is_absolute():
        raise HostError(f"this user has no home folder: name a folder for all in {CACHE_VARIABLE}")
    return path


def run_folder() -> Path:
    """Where machines run; ``PYHARNESS_RUN`` names another place, apart from all others.

    Raises:
        UsageError: what it names is no absolute path.
        HostError: see folder().
    """
    path = _named(RUN_VARIABLE) or folder() / "run"
    with as_host_error():
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
    return path


def _named(variable: str) -> Path | None:
    """The folder that an environment variable names, None if it names none."""
    named = os.environ.get(variable)
    if not named:
        return None
    path = Path(named)
    if not path.is_absolute():
        raise UsageError(f"{variable}={named} {_why_not_absolute(variable, path)}")
    if bad := next((character for character in named if not character.isprintable()), None):
        raise UsageError(f"{variable} has the character {bad!r}: name a folder without it")
    return path


def _why_not_absolute(variable: str, path: Path) -> str:
    why = "depends on the current folder"
    if str(path).startswith("~"):
        why = "begins with ~, which only a shell replaces"
    try:
        advice = f"{variable}={shlex.quote(str(path.expanduser().absolute()))}"
    except (RuntimeError, FileNotFoundError):  # no such user; or the current folder is gone
        advice = "an absolute path"
    return f"{why}: write {advice}"


_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FIXES = (
    (_NO_ROOM, "make room, or "),
    ((errno.EACCES, errno.EPERM, errno.EROFS), "make it yours to write, or "),
    ((errno.ENOTDIR, errno.EEXIST), "make it a folder, or "),
)
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


@contextmanager
def as_host_error() -> Iterator[None]:
    """Raise what the file system refuses as an error that names the file and the fix.

    Raises:
        HostError: a file can't be made, read or written.
    """
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno not in _NO_ROOM:  # not of the file system
            raise
        where = os.fsdecode(error.filename) if error.filename else "the disk"
        fixes = {number: fix for numbers, fix in _FIXES for number in numbers}
        fix = fixes.get(error.errno or 0, "")
        raise HostError(
            f"{where} can't be used ({error.strerror}): {fix}name other folders"
            f" in {CACHE_VARIABLE} and {RUN_VARIABLE}"
        ) from error


@contextmanager
def locked(
    name: str, *, waiting: Callable[[], AbstractContextManager[object]] = nullcontext
) -> Iterator[None]:
    """Hold the lock of that name, among all processes that use this cache.

    The kernel gives it back however its holder ends.

    Args:
        name: what is locked, such as an image's name.
        waiting: gives a context that lasts while somebody else holds it.
    """
    locks = folder() / "locks"
    with ExitStack() as stack:
        with as_host_error():
            locks.mkdir(exist_ok=True)
            file = stack.enter_context((locks / name).open("w"))
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with waiting():
                fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            raise HostError(
                f"{locks} is on a file system without locks: name a folder on a local disk in"
                f" {CACHE_VARIABLE}"
            ) from error
        yield


@contextmanager
def atomic_folder(target: Path, *, siblings: str = "") -> Iterator[Path]:
    """Make a folder that is either there whole or not at all.

    The caller holds the lock of what it makes, and knows that it isn't there whole:
    whatever an interrupted run left half made or half removed is removed first.

    Args:
        target: the folder.
        siblings: the name that other folders which the same lock protects begin with, such
            as ``bookworm-i386``; 12 hex digits follow. What interrupted runs left of
            those is removed, too, and those that nobody has used for a week.

    Yields:
        A folder beside the target, renamed to it when the block ends well.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    pattern = f"{siblings}-{'[0-9a-f]' * 12}" if siblings else target.name
    for left in target.parent.glob(f".{pattern}.*"):
        shutil.rmtree(left, ignore_errors=True)
    for old in target.parent.glob(pattern):
        if old == target or time.time() - old.stat().st_mtime > _UNUSED_SECONDS:
            _remove(old)
    making = _beside(target)
    making.mkdir()
    try:
        yield making
        making.rename(target)
    finally:
        shutil.rmtree(making, ignore_errors=True)


def _beside(target: Path) -> Path:
    return target.parent / f".{target.name}.{uuid.uuid4().hex[:8]}"


def _remove(folder: Path) -> None:
    """Remove a folder, which is either there whole or not at all."""
    leaving = folder.rename(_beside(folder))
    shutil.rmtree(leaving, ignore_errors=True)


def mark_used(folder: Path) -> None:
    """Note that a folder of the cache is used now; see made_whole()."""
    os.utime(folder)
