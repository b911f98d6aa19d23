# SPDX-License-Identifier: GPL-2.0
"""Print a checksum of each function of the kernel, and of its constants, as they are in memory.

Runs in the guest, as root. One line each: ``name checksum``. Of the tables of system calls, each
entry has one; other constants have no names, but addresses.
"""

from __future__ import annotations

import bisect
import re
import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO

BLOCK = 256  # bytes of constants that have one checksum
TABLES = ("sys_call_table", "ia32_sys_call_table")
WORD = struct.calcsize("P")


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


def symbols(kinds: str) -> list[tuple[int, str]]:
    """Where each symbol of the kernel begins, and its name, in the order of addresses."""
    found: dict[int, str] = {}
    with open("/proc/kallsyms", encoding="ascii") as file:
        for line in file:
            address, kind, name, *module = line.split()
            if kind in kinds and not module:
                found[int(address, 16)] = name
    return sorted(found.items())


def constants(first: int, size: int, known: list[tuple[int, str]]) -> list[tuple[int, str]]:
    """Where each part of the constants begins that has a checksum, and its name."""
    parts = {place: f"constants+{place:#x}" for place in range(0, size, BLOCK)}
    for number, (begin, name) in enumerate(known[:-1]):
        end, _ = known[number + 1]
        if name in TABLES and first <= begin < first + size:
            for entry in range((end - begin) // WORD):
                parts[begin - first + entry * WORD] = f"{name}[{entry}]"
            parts.setdefault(end - first, f"constants+{end - first:#x}")
    return sorted(parts.items())


def main() -> None:
    """Print the checksums."""
    names, known_constants = symbols("tTwW"), symbols("rRdD")
    starts = [address for address, _ in names]
    with open("/proc/kcore", "rb") as core, open("/proc/iomem", encoding="ascii") as map_:
        known = list(segments(core))
        for line in map_:
            part = re.match(r"\s*([0-9a-f]+)-([0-9a-f]+) : Kernel (code|rodata)", line)
            if not part:
                continue
            at, data = region(core, known, int(part[1], 16), int(part[2], 16) + 1)
            if part[3] == "code":
                first = bisect.bisect_left(starts, at)
                last = bisect.bisect_left(starts, at + len(data))
                parts = [(starts[n] - at, names[n][1]) for n in range(first, last)]
            else:
                parts = constants(at, len(data), known_constants)
            ends = [begin for begin, _ in parts[1:]] + [len(data)]
            for (begin, name), end in zip(parts, ends):
                print(f"{name}@{at + begin:x} {zlib.crc32(data[begin:end]):08x}")


main()
