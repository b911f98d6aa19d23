# SPDX-License-Identifier: GPL-2.0
"""Write files such that a reader, and a later run, finds them either whole or as they were."""

import os
from pathlib import Path


def write_text(path: Path, text: str) -> None:
    """Write a text to a file, in UTF-8, such that the file is either complete or as it was.

    Args:
        path: the file. At any time only one process may write it.
        text: the text.

    Raises:
        OSError: the file can't be written.
    """
    making = path.with_name(f".{path.name}.new")
    with making.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    making.replace(path)
