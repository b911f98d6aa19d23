# SPDX-License-Identifier: GPL-2.0
"""Numbers as strace prints them: in hexadecimal, keys, modes and devices of files. Pure."""

import stat

_TYPES = {
    stat.S_IFSOCK: "S_IFSOCK",
    stat.S_IFLNK: "S_IFLNK",
    stat.S_IFREG: "S_IFREG",
    stat.S_IFBLK: "S_IFBLK",
    stat.S_IFDIR: "S_IFDIR",
    stat.S_IFCHR: "S_IFCHR",
    stat.S_IFIFO: "S_IFIFO",
}
_SPECIAL = {stat.S_ISUID: "S_ISUID", stat.S_ISGID: "S_ISGID", stat.S_ISVTX: "S_ISVTX"}


def hexadecimal(number: int) -> str:
    """Return a number in hexadecimal: ``0``, ``0x1``."""
    return f"{number:#x}" if number else "0"


def key(number: int) -> str:
    """Return a key of System V IPC: ``IPC_PRIVATE``, ``0x5e``."""
    return f"{number:#x}" if number else "IPC_PRIVATE"


def permissions(mode: int) -> str:
    """Return a mode in octal: ``0755``, ``022``, ``000``."""
    return f"0{mode:o}".zfill(3)


def type_and_permissions(mode: int) -> str:
    """Return a mode of 16 bits with names: ``S_IFIFO|0644``; in octal if the type has none."""
    kind = stat.S_IFMT(mode)
    if kind and kind not in _TYPES:
        return permissions(mode)
    names = [_TYPES[kind]] if kind else []
    names += [name for bit, name in _SPECIAL.items() if mode & bit]
    return "|".join([*names, permissions(mode & 0o777)])


def is_device(mode: int) -> bool:
    """Whether a file of a mode is a device."""
    return stat.S_IFMT(mode & 0xFFFF) in (stat.S_IFCHR, stat.S_IFBLK)


def device(number: int) -> str:
    """Return the two numbers of a device: ``makedev(0x1, 0x3)``.

    Args:
        number: the number that system calls take, in 32 bits.
    """
    major, minor = number >> 8 & 0xFFF, number >> 12 & 0xFFF00 | number & 0xFF
    return f"makedev({hexadecimal(major)}, {hexadecimal(minor)})"
