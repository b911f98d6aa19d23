# SPDX-License-Identifier: GPL-2.0
"""Build an initramfs: a cpio archive in the "newc" format. Pure."""

import stat
from dataclasses import dataclass

# Each header and each file's data is padded to a multiple of this size (bytes).
_ALIGN = 4


@dataclass(frozen=True, kw_only=True)
class Node:
    """A file, folder or character device in an archive.

    Attributes:
        path: the path in the archive, without a leading slash.
        mode: type and permissions, as in ``st_mode`` of stat(2).
        data: the content of a file; empty for other types.
        device: the major and minor number of a device; (0, 0) for other types.
    """

    path: str
    mode: int
    data: bytes = b""
    device: tuple[int, int] = (0, 0)


def file(path: str, data: bytes, *, executable: bool = False) -> Node:
    """A regular file that root owns, with mode 0755 if it is executable, else 0644."""
    return Node(path=path, mode=stat.S_IFREG | (0o755 if executable else 0o644), data=data)


def folder(path: str) -> Node:
    """A folder that root owns, with mode 0755."""
    return Node(path=path, mode=stat.S_IFDIR | 0o755)


def character_device(path: str, major: int, minor: int) -> Node:
    """A character device that root owns, with mode 0600."""
    return Node(path=path, mode=stat.S_IFCHR | 0o600, device=(major, minor))


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % _ALIGN)


def _entry(number: int, node: Node) -> bytes:
    name = node.path.encode() + b"\0"
    fields = (
        number, node.mode, 0, 0, 1, 0, len(node.data), 0, 0, *node.device, len(name), 0,
    )  # fmt: skip
    header = b"070701" + b"".join(b"%08x" % field for field in fields)
    return _padded(header + name) + _padded(node.data)


def archive(nodes: list[Node]) -> bytes:
    """Pack nodes into an archive.

    Args:
        nodes: in the order of the archive; each folder comes before its contents.
    """
    trailer = Node(path="TRAILER!!!", mode=0)
    return b"".join(_entry(number, node) for number, node in enumerate([*nodes, trailer], 1))
