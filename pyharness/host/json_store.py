# SPDX-License-Identifier: GPL-2.0
"""Facts that are kept in the cache as JSON. A damaged file counts as no file."""

import json
from collections.abc import Mapping
from pathlib import Path
from types import UnionType
from typing import Any


def read(path: Path, kinds: Mapping[str, type | UnionType]) -> dict[str, Any] | None:
    """The facts in a file.

    Args:
        path: the file.
        kinds: the type of each fact, by its name.

    Returns:
        Just these facts, or None if the file is missing or has anything else: it may be of
        another version of this program, or cut off by a power failure.
    """
    try:
        return checked(json.loads(path.read_text(encoding="utf-8")), kinds)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None


def checked(facts: object, kinds: Mapping[str, type | UnionType]) -> dict[str, Any] | None:
    """Facts, if they are just these; see read()."""
    if not isinstance(facts, dict) or facts.keys() != kinds.keys():
        return None
    return facts if all(isinstance(facts[name], kinds[name]) for name in kinds) else None
