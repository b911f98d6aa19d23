# SPDX-License-Identifier: GPL-2.0
"""The content of a file of this host, read once, of which copies are made."""

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class FileContent:
    """What a file had when it was read.

    Attributes:
        data: the bytes.
        may_run: whether this user might execute it.
    """

    data: bytes
    may_run: bool

    @classmethod
    def read(cls, path: Path) -> "FileContent":
        """Read a file.

        Raises:
            OSError: it can't be read.
        """
        return cls(path.read_bytes(), os.access(path, os.X_OK))

    @property
    def mode(self) -> int:
        """The permissions of a copy."""
        return 0o755 if self.may_run else 0o644

    def write(self, path: Path) -> None:
        """Write a copy; the folders above it are created if they are missing.

        Raises:
            OSError: it can't be written.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(self.data)
        path.chmod(self.mode)
