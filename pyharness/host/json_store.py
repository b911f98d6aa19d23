# SPDX-License-Identifier: GPL-2.0
"""Facts that are kept in the cache as JSON. A damaged file counts as a missing one."""

import json
from collections.abc import Mapping
from pathlib import Path
from types import UnionType
from typing import Any

from pyharness.host import atomic


def read(path: Path, kinds: Mapping[str, type | UnionType]) -> dict[str, Any] | None:
    """Read the facts in a file.

    Args:
        path: the file.
        kinds: the type of each fact, by its name. One that may be None may be missing, too.

    Returns:
        The facts; None if the file is missing or damaged, or has other facts or types. It may
        have been written by another version of this program, or cut off by a power failure.
    """
    try:
        return checked(json.loads(path.read_text(encoding="utf-8")), kinds)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None


def checked(facts: object, kinds: Mapping[str, type | UnionType]) -> dict[str, Any] | None:
    """Check facts that come from a file.

    Args:
        facts: what the file has.
        kinds: the type of each fact, by its name. One that may be None may be missing, too.

    Returns:
        The facts; None if they are not a dict with just these names and types.
    """
    if not isinstance(facts, dict) or facts.keys() - kinds.keys():
        return None
    known = {name: facts.get(name) for name in kinds}
    return known if all(isinstance(known[name], kinds[name]) for name in kinds) else None


def write(path: Path, facts: Mapping[str, Any]) -> None:
    """Write facts to a file such that it is either complete or as it was.

    Args:
        path: the file. If two processes write it, the later one's facts are in it.
        facts: the facts.

    Raises:
        OSError: the file can't be written.
    """
    atomic.write_text(path, json.dumps(facts))
