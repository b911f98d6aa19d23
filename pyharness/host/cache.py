# SPDX-License-Identifier: GPL-2.0
"""The user's cache of images, saved states and modules: its folders, locks, and errors."""

import errno
import fcntl
import hashlib
import os
import shlex
import shutil
import time
import uuid
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TypeVar

from platformdirs import user_cache_path

from pyharness.errors import HostError, UsageError

CACHE_VARIABLE = "PYHARNESS_CACHE"
RUN_VARIABLE = "PYHARNESS_RUN"
# What was made from sources that rarely change is kept for this long after its last use.
UNUSED_SECONDS = 7 * 24 * 3600.0
# What was made from a kernel's tree that its developer builds again and again is kept for so long.
SHORT_LIVED_SECONDS = 3600.0
# A folder of machines that is not there is remembered for so long after it was last used.
_RECORD_SECONDS = 30 * 24 * 3600.0
_Made = TypeVar("_Made")


def folder() -> Path:
    """The cache's folder, created if it is missing; ``PYHARNESS_CACHE`` names another.

    Raises:
        UsageError: ``PYHARNESS_CACHE`` is not an absolute path of printable characters.
        HostError: the folder can't be created, or the user has no home folder.
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
    """The folder in which machines run, created if it is missing.

    ``PYHARNESS_RUN`` names another; its machines are separate from all others.

    Raises:
        UsageError: ``PYHARNESS_RUN`` is not an absolute path of printable characters.
        HostError: the folder can't be created, or the user has no home folder.
    """
    named = _named(RUN_VARIABLE)
    path = named or _default_run_folder()
    with as_host_error():
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
    if named:
        _record(path.resolve())
    return path


def _default_run_folder() -> Path:
    return folder() / "run"


def run_folders() -> set[Path]:
    """All folders in which machines run that use this cache."""
    found = {run_folder().resolve(), _default_run_folder()}
    for record in _records().glob("*"):
        if os.path.isdir(record):  # noqa: PTH112, as Path.is_dir() raises what it can't look at
            found.add(record.resolve())
        else:  # it is gone, or on a disk or in a container that is not here now
            with suppress(OSError):
                if time.time() - record.lstat().st_mtime > _RECORD_SECONDS:
                    record.unlink()
    return found


def _record(run: Path) -> None:
    """Have run_folders() return a folder that the user has named, also without its name."""
    record = _records() / hashlib.sha256(os.fsencode(run)).hexdigest()[:12]
    with suppress(OSError):  # nothing can be changed in this cache
        record.parent.mkdir(exist_ok=True)
        with suppress(FileExistsError):
            record.symlink_to(run)
        os.utime(record, follow_symlinks=False)


def _records() -> Path:
    return folder() / "runs"


def _named(variable: str) -> Path | None:
    """The folder that an environment variable names; None if it is unset or empty."""
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
    """Turn the file system's errors into one that names the file and the fix.

    Raises:
        HostError: a file can't be created, read or written.
    """
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno not in _NO_ROOM:  # not a file system's error
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
    """Hold a lock, which excludes all other processes that use this cache.

    The kernel releases the lock when its holder ends, even by SIGKILL.

    Args:
        name: the lock's name, such as ``image-bookworm-i386``.
        waiting: called if another process holds the lock; the context that it returns
            lasts until that process releases it.

    Raises:
        HostError: the lock's file can't be created, or its file system has no locks.
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


def ensure(
    read: Callable[[], _Made | None],
    make: Callable[[], None],
    *,
    lock: str,
    waiting: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> _Made:
    """Return what is in the cache; if it is missing, make it, in one process at a time.

    Args:
        read: returns what is there; None if it is missing.
        make: makes it.
        lock: the name of the lock to hold meanwhile.
        waiting: called if another process makes it; the context that it returns lasts until
            that has ended.
    """
    if (found := read()) is None:
        with locked(lock, waiting=waiting):
            if (found := read()) is None:
                make()
                found = read()
    assert found is not None
    return found


@contextmanager
def atomic_folder(
    target: Path,
    *,
    siblings: str = "",
    unused_seconds: float = UNUSED_SECONDS,
    keep: Collection[Path] = (),
) -> Iterator[Path]:
    """Create a folder such that it is either complete or absent.

    The caller holds the lock that protects the folder, and has found that it is not complete.
    Whatever interrupted runs left half created or half removed is removed first.

    Args:
        target: the folder.
        siblings: the beginning of the names of other folders that the same lock protects,
            such as ``bookworm-i386``; a hyphen and 12 hex digits follow it. What interrupted
            runs left of those is removed, too, and so are those that are not in use any more.
        unused_seconds: for how long those have then been unused.
        keep: folders that are in use, however long ago they were marked so.

    Yields:
        An empty folder beside the target, which is renamed to the target if the block ends
        without an exception, and removed otherwise.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    pattern = f"{siblings}-{'[0-9a-f]' * 12}" if siblings else target.name
    for left in target.parent.glob(f".{pattern}.*"):
        shutil.rmtree(left, ignore_errors=True)
    for old in target.parent.glob(pattern):
        unused = time.time() - old.stat().st_mtime > unused_seconds
        if old == target or (unused and old not in keep):
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
    """Remove a folder such that it is either complete or absent."""
    leaving = folder.rename(_beside(folder))
    shutil.rmtree(leaving, ignore_errors=True)


def mark_used(folder: Path) -> None:
    """Record that a folder of the cache is in use, so that atomic_folder() keeps it for a week."""
    os.utime(folder)
