# SPDX-License-Identifier: GPL-2.0
"""Folders that are nested more deeply than Python's functions can call each other."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_LEVELS = 1200


@contextmanager
def deep_folder(place: Path) -> Iterator[Path]:
    """Make folders within each other, and remove them in the end.

    pytest can't remove them: `shutil.rmtree()` calls itself for each level.

    Args:
        place: the folder that they are made in.

    Yields:
        the innermost one.
    """
    folder = top = place / "d"
    try:
        for _ in range(_LEVELS):
            folder.mkdir()
            innermost, folder = folder, folder / "d"
        yield innermost
    finally:
        subprocess.run(["rm", "-r", top], check=True)
