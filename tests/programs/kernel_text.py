# SPDX-License-Identifier: GPL-2.0
"""Print a checksum of each function of the kernel, and of its constants, as they are in memory.

Runs in the guest, as root. One line each: ``name checksum``; constants (the tables of system calls
are among them) have no names, but addresses. With names of system calls as arguments, it prints
which constants have the addresses of the functions that serve them.
"""

from __future__ import annotations

import bisect
import re
import struct
import sys
import zlib
from array import array
from collections.abc import Iterator
from typing import BinaryIO

WORD = array("L").itemsize
BLOCK = 64  # bytes of constants that have one checksum


def segments(core: BinaryIO) -> Iterator[tuple[int, int, int, int]]:
    """What of /proc/kcore is memory: physical and virtual address, size, place in the file."""
    ident = core.read(16)
    wide = ident[4] == 2
    order = "<" if ident[5] == 1 else ">"
    core.seek(0)
    header = struct.unpack(
        order + ("16sHHIQQQIHHHHHH" if wide else "16sHHIIIIIHHHHHH"), core.read(64 if wide else 52)
    )
    offset, size, count = header[5], header[9], header[10]
    for number in range(count):
        core.seek(offset + number * size)
        if wide:
            kind, _, place, virtual, physical, length, _, _ = struct.unpack(
                order + "IIQQQQQQ", core.read(56)
            )
        else:
            kind, place, virtual, physical, length, _, _, _ = struct.unpack(
                order + "IIIIIIII", core.read(32)
            )
        if kind == 1:
            yield physical, virtual, length, place


def region(
    core: BinaryIO, known: list[tuple[int, int, int, int]], begin: int, end: int
) -> tuple[int, bytes]:
    """The virtual address and the bytes of a range of physical addresses."""
    for physical, virtual, length, place in known:
        if physical <= begin and end <= physical + length:
            core.seek(place + begin - physical)
            return virtual + begin - physical, core.read(end - begin)
    raise SystemExit("the kernel's memory is not in /proc/kcore")


def functions() -> list[tuple[int, str]]:
    """Where each function of the kernel begins, and its names, in the order of addresses."""
    with open("/proc/kallsyms", encoding="ascii") as file:
        lines = [line.split() for line in file]
    return sorted(
        (int(address, 16), name)
        for address, kind, name, *module in lines
        if kind in "tTwW" and not module
    )


def block(place: int) -> str:
    """The name of the constants at a place among them."""
    return f"constants+{place - place % BLOCK:#x}"


def main() -> None:
    """Print the checksums, or the constants that have the addresses of functions."""
    served = tuple(f"_sys_{call}" for call in sys.argv[1:])
    wanted = {address for address, name in functions() if served and name.endswith(served)}
    names = sorted(dict(functions()).items())  # one of each function
    starts = [address for address, _ in names]
    with open("/proc/kcore", "rb") as core, open("/proc/iomem", encoding="ascii") as map_:
        known = list(segments(core))
        for line in map_:
            part = re.match(r"\s*([0-9a-f]+)-([0-9a-f]+) : Kernel (code|rodata)", line)
            if not part:
                continue
            at, data = region(core, known, int(part[1], 16), int(part[2], 16) + 1)
            if served:
                words = array("L", data[: len(data) // WORD * WORD]) if part[3] == "rodata" else []
                for number, word in enumerate(words):
                    if word in wanted:
                        print(block(number * WORD))
                continue
            if part[3] == "code":
                first = bisect.bisect_left(starts, at)
                last = bisect.bisect_left(starts, at + len(data))
                parts = [(starts[n] - at, names[n][1]) for n in range(first, last)]
            else:
                parts = [(place, block(place)) for place in range(0, len(data), BLOCK)]
            ends = [begin for begin, _ in parts[1:]] + [len(data)]
            for (begin, name), end in zip(parts, ends):
                print(f"{name}@{at + begin:x} {zlib.crc32(data[begin:end]):08x}")


main()
