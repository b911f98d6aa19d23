# SPDX-License-Identifier: GPL-2.0
"""Write files such that a reader, and a later run, finds them either whole or as they were."""

import os
import uuid
from pathlib import Path


def write_text(path: Path, text: str) -> None:
    """Write a text to a file, in UTF-8, such that the file is either complete or as it was.

    Args:
        path: the file. If two processes write it at a time, it has the text of one of them.
        text: the text.

    Raises:
        OSError: the file can't be written.
    """
    making = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        with making.open("x", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        making.replace(path)
    finally:
        making.unlink(missing_ok=True)
