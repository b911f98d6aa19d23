# SPDX-License-Identifier: GPL-2.0
"""The guests that a user's project describes in its ``pyproject.toml``."""

import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from pyharness.errors import UsageError

# Where the tables are.
_TABLE = ("tool", "pyharness", "guests")
# The keys whose values may be paths, which are relative to the project's folder.
_PATHS = ("kernel_tree", "kernel_packages", "config")


def tables() -> dict[str, Any]:
    """The tables ``[tool.pyharness.guests.NAME]`` of the nearest ``pyproject.toml``, by name.

    It is the one in the current folder or above it. Paths in the tables become absolute; otherwise
    the tables are as they are written, and may be wrong.

    Raises:
        UsageError: the file can't be read, or has something else in place of the tables.
    """
    project = _project()
    return read(project) if project else {}


def read(project: Path) -> dict[str, Any]:
    """The tables of a ``pyproject.toml``, as tables() returns them.

    Raises:
        UsageError: the file can't be read, or has something else in place of the tables.
    """
    try:
        found: Any = tomllib.loads(project.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{project}: {error}") from error
    for depth, key in enumerate(_TABLE, 1):
        found = found.get(key, {})
        if not isinstance(found, Mapping):
            raise UsageError(f"{project}: {'.'.join(_TABLE[:depth])} is not a table")
    return {name: _placed(table, project.parent) for name, table in found.items()}


@cache
def _project() -> Path | None:
    """The nearest pyproject.toml, seen from the folder in which this process was started."""
    try:
        here = Path.cwd()
    except OSError:  # it is gone, or this user may not know it
        return None
    found = (folder / "pyproject.toml" for folder in (here, *here.parents))
    return next(filter(_is_file, found), None)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # this user may not search its folder
        return False


def _placed(table: Any, folder: Path) -> Any:
    """Return a guest's table with absolute paths; anything else as it is."""
    if not isinstance(table, Mapping):
        return table
    return {key: _path(table[key], folder) if key in _PATHS else table[key] for key in table}


def _path(value: Any, folder: Path) -> Any:
    """Return the path of a file in the project, or of each in a list; other words as they are."""
    if isinstance(value, list):
        return [_path(one, folder) for one in value]
    try:
        path = folder / Path(str(value)).expanduser()
        return str(path) if value and path.exists() else value
    except (OSError, RuntimeError, ValueError):  # it is no path, or of an unknown user
        return value
