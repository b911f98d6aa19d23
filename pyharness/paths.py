# SPDX-License-Identifier: GPL-2.0
"""Where things are on this host: what the project brings, and its cache."""

import fcntl
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from platformdirs import user_cache_path

_PACKAGE = Path(__file__).parent
_UNUSED_SECONDS = 7 * 24 * 3600.0


def _data(name: str) -> Path:
    """A folder of the project: beside the package in a checkout, in it when installed."""
    installed = _PACKAGE / "_data" / name
    return installed if installed.is_dir() else _PACKAGE.parent / name


VM = _data("vm")
MODULE = _data("module")
GUESTSIDE = _PACKAGE / "guestside"


def cache() -> Path:
    """The cache's folder, made if need be; ``PYHARNESS_CACHE`` names another."""
    named = os.environ.get("PYHARNESS_CACHE")
    path = Path(named) if named else user_cache_path("pyharness")
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    return path.resolve()


@contextmanager
def locked(name: str, *, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold the lock of that name, among all processes that use this cache.

    The kernel gives it back however its holder ends.

    Args:
        name: what is locked, such as an image's name.
        waiting: called once if somebody else holds it.
    """
    folder = cache() / "locks"
    folder.mkdir(exist_ok=True)
    with (folder / name).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting()
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def made_whole(target: Path, *, kin: str = "") -> Iterator[Path]:
    """Make a folder that is either there whole or not at all.

    The caller holds the lock of what it makes: whatever an interrupted run left
    half made beside the target is removed first.

    Args:
        target: the folder.
        kin: a pattern of other folders that the same lock protects, such as
            ``bookworm-i386-*``. What interrupted runs left of those is removed,
            too, and those that nobody has used for a week.

    Yields:
        A folder beside the target, renamed to it when the block ends well.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    for left in target.parent.glob(f".{kin or target.name + '.*'}"):
        shutil.rmtree(left, ignore_errors=True)
    for old in target.parent.glob(kin) if kin else ():
        if time.time() - old.stat().st_mtime > _UNUSED_SECONDS:
            shutil.rmtree(old, ignore_errors=True)
    making = target.parent / f".{target.name}.{uuid.uuid4().hex[:8]}"
    making.mkdir()
    try:
        yield making
        making.rename(target)
    finally:
        shutil.rmtree(making, ignore_errors=True)


def used(folder: Path) -> None:
    """Note that a folder of the cache is used now; see made_whole()."""
    os.utime(folder)
