# SPDX-License-Identifier: GPL-2.0
"""An initial file system for a kernel: a cpio archive in the "newc" format. Pure."""

import stat
from dataclasses import dataclass

_ALIGN = 4


@dataclass(frozen=True, kw_only=True)
class Node:
    """A file, folder or character device.

    Attributes:
        path: without a leading slash.
        mode: type and permissions, as stat(2) has them.
        data: a file's content.
        device: a device's major and minor number.
    """

    path: str
    mode: int
    data: bytes = b""
    device: tuple[int, int] = (0, 0)


def file(path: str, data: bytes, *, executable: bool = False) -> Node:
    """A file."""
    return Node(path=path, mode=stat.S_IFREG | (0o755 if executable else 0o644), data=data)


def folder(path: str) -> Node:
    """A folder."""
    return Node(path=path, mode=stat.S_IFDIR | 0o755)


def character_device(path: str, major: int, minor: int) -> Node:
    """A character device."""
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
    """The archive of those nodes; folders come before what is in them."""
    trailer = Node(path="TRAILER!!!", mode=0)
    return b"".join(_entry(number, node) for number, node in enumerate([*nodes, trailer], 1))
