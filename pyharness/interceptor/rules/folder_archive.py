# SPDX-License-Identifier: GPL-2.0
"""Packs the folder that a student has handed in, within limits that no module's source reaches."""

import fnmatch
import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

from pyharness.errors import UsageError

LARGEST_BYTES = 64 << 20  # of a submission
_MOST_FILES = 10_000
_MOST_LEVELS = 50
# What a submission's folder has besides its source, as patterns of names.
NO_SOURCE = (".*", "__pycache__", "*.ko", "*.o", "*.mod", "*.mod.c")


def packed(folder: Path) -> bytes:
    """Return a tar archive of a folder, which depends on names and content alone.

    Symbolic links stay what they are: nothing is read from outside of the folder.

    Args:
        folder: the folder.

    Raises:
        UsageError: it has too much, too many files, or folders that are nested too deeply.
        OSError: something in it can't be read.
    """
    size = 0
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for path in _paths(folder):
            archive.inodes.clear()  # type: ignore[attr-defined]  # a hard link is a file as any other
            member = archive.gettarinfo(path, path.relative_to(folder).as_posix())
            if member is None or not (member.isfile() or member.isdir() or member.issym()):
                continue
            if (size := size + member.size) > LARGEST_BYTES:
                raise too_large(folder)
            member.mtime = member.uid = member.gid = 0
            member.uname = member.gname = ""
            member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
            if member.isfile():
                with path.open("rb") as file:
                    archive.addfile(member, file)
            else:
                archive.addfile(member)
    return made.getvalue()


def too_large(path: Path) -> UsageError:
    """Return the error of a submission that is too large."""
    return _no_source(path, f"{LARGEST_BYTES >> 20} MiB")


def _no_source(path: Path, what: str) -> UsageError:
    return UsageError(f"{path} has more than {what}: it is not a module's source")


def _paths(folder: Path) -> Iterator[Path]:
    """Yield what is in a folder, each folder before its content, sorted by name in each.

    Folders may be nested more deeply than functions of Python can call each other.
    """
    ahead = _entries(folder)
    count = 0
    while ahead:
        path = ahead.pop()
        if (count := count + 1) > _MOST_FILES:
            raise _no_source(folder, f"{_MOST_FILES:,} files")
        yield path
        if path.is_dir() and not path.is_symlink():
            if len(path.relative_to(folder).parts) >= _MOST_LEVELS:
                raise _no_source(folder, f"{_MOST_LEVELS} levels of folders")
            ahead += _entries(path)


def _entries(folder: Path) -> list[Path]:
    """Return what is packed of a folder's entries, the last by name first."""
    found = (path for path in folder.iterdir() if not _is_left_out(path.name))
    return sorted(found, key=lambda path: path.name, reverse=True)


def _is_left_out(name: str) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in NO_SOURCE)
