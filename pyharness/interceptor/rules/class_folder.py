# SPDX-License-Identifier: GPL-2.0
"""Finds what a class has handed in: one submission in each sub-folder or archive of a folder."""

import hashlib
import os
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from pyharness.errors import UsageError
from pyharness.interceptor.rules.submission import ARCHIVES

# The files about the whole class have this name.
CLASS = "class"
# A name has an extension added, and a file system allows 255 bytes.
_LONGEST_BYTES = 200


@dataclass(frozen=True)
class Submission:
    """What one student has handed in.

    Attributes:
        name: the name that its files and the reports have; no other submission has it.
        path: the folder or archive.
    """

    name: str
    path: Path


def submissions(folder: Path, without: Path | None = None) -> list[Submission]:
    """Return the submissions in a folder, sorted by name; hidden entries and other files are none.

    A folder gives its submission its name, and an archive its name without the extension. Where
    several would have the same name, archives keep their extensions: ``a/`` and ``a.zip`` are
    ``a`` and ``a.zip``.

    Args:
        folder: the folder of the class.
        without: a folder that is no submission, although it may be among them.

    Raises:
        UsageError: there is none, or the folder can't be read.
    """
    try:
        found = [
            entry
            for entry in folder.iterdir()
            if not entry.name.startswith(".")
            and (entry.is_dir() or (entry.is_file() and _extension(entry)))
            and not (without and without.exists() and entry.samefile(without))
        ]
    except OSError as error:
        raise UsageError(f"{error.filename or folder} can't be read: {error.strerror}") from error
    if not found:
        kinds = ", ".join(ARCHIVES)
        raise UsageError(
            f"{folder} has no submission: name a folder that has a sub-folder or an archive"
            f" ({kinds}) for each student"
        )
    names = _names(found)
    return sorted(
        (Submission(names[path], path) for path in found), key=lambda student: student.name
    )


def _extension(path: Path) -> str:
    """Return the extension of an archive; nothing if the path is none."""
    if path.is_dir():
        return ""
    lower = path.name.lower()
    fitting = (kind for kind in ARCHIVES if lower.endswith(kind) and len(lower) > len(kind))
    return max(fitting, key=len, default="")


def _names(paths: Collection[Path]) -> dict[Path, str]:
    names = {path: path.name[: len(path.name) - len(_extension(path))] for path in paths}
    while True:
        counts = Counter(names.values())
        longer = [path for path, name in names.items() if counts[name] > 1 and name != path.name]
        if not longer:
            break
        names |= {path: path.name for path in longer}
    taken = set(names.values())
    for path, name in names.items():
        if name == CLASS or len(os.fsencode(name)) > _LONGEST_BYTES:
            names[path] = _other(name, taken)
    return names


def _other(name: str, taken: set[str]) -> str:
    """Return a name that files can have in place of one that they can't, and take it."""
    other = os.fsencode(name)[: _LONGEST_BYTES // 2].decode("utf-8", "ignore")
    mark = hashlib.sha256(os.fsencode(name)).hexdigest()
    length = 4
    while (chosen := f"{other}-{mark[:length]}") in taken:
        length += 1
    taken.add(chosen)
    return chosen


def digest(archive: str, data: bytes) -> str:
    """Return a digest of a submission's content, as hexadecimal digits.

    Args:
        archive: the name of the archive, as submission.packed() returns it.
        data: its content, likewise. A student's own archive is not looked into on this host.
    """
    return hashlib.sha256(f"{archive}\n".encode() + data).hexdigest()
