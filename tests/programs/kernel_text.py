# SPDX-License-Identifier: GPL-2.0
"""Compare the kernel's code and constants in memory with what they were before.

Runs in the guest, as root:

- ``save FILE`` keeps them in a file, and prints how many functions there are;
- ``compare FILE`` prints what differs from the file: the names of functions, and constants (the
  tables of system calls are among them), which have no names, but addresses;
- ``pointers CALL...`` prints which constants have the addresses of the functions that serve system
  calls.
"""

from __future__ import annotations

import bisect
import pickle
import re
import struct
import sys
from array import array
from collections.abc import Callable, Iterator
from typing import BinaryIO

WORD = array("L").itemsize
BLOCK = 64  # bytes of constants that have one name
PAGE = 4096


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


def memory() -> Iterator[tuple[str, int, bytes]]:
    """Each part of the kernel's memory that does not change: code or rodata, address, bytes."""
    with open("/proc/kcore", "rb") as core, open("/proc/iomem", encoding="ascii") as map_:
        known = list(segments(core))
        for line in map_:
            part = re.match(r"\s*([0-9a-f]+)-([0-9a-f]+) : Kernel (code|rodata)", line)
            if not part:
                continue
            begin, end = int(part[1], 16), int(part[2], 16) + 1
            for physical, virtual, length, place in known:
                if physical <= begin and end <= physical + length:
                    core.seek(place + begin - physical)
                    yield part[3], virtual + begin - physical, core.read(end - begin)
                    break
            else:
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


def differing(old: bytes, new: bytes) -> Iterator[int]:
    """The places of the blocks that differ."""
    for page in range(0, len(new), PAGE):
        if old[page : page + PAGE] != new[page : page + PAGE]:
            for place in range(page, page + PAGE, BLOCK):
                if old[place : place + BLOCK] != new[place : place + BLOCK]:
                    yield place


def changed_functions(at: int, old: bytes, new: bytes) -> set[str]:
    """The names of the functions that differ, one of each."""
    names = sorted(dict(functions()).items())
    starts = [address - at for address, _ in names]
    found = set()
    for place in differing(old, new):
        first = max(bisect.bisect_right(starts, place) - 1, 0)
        for number in range(first, bisect.bisect_left(starts, place + BLOCK)):
            begin = max(starts[number], 0)
            end = starts[number + 1] if number + 1 < len(starts) else len(new)
            if old[begin:end] != new[begin:end]:
                found.add(names[number][1])
    return found


def save(file: str) -> None:
    """Keep the code and the constants in a file, and print how many functions there are."""
    with open(file, "wb") as kept:
        pickle.dump(list(memory()), kept)
    print(len(dict(functions())))


def compare(file: str) -> None:
    """Print what differs from a file."""
    with open(file, "rb") as kept:
        before = pickle.load(kept)
    for (kind, at, old), (kind_now, at_now, new) in zip(before, memory()):
        assert (kind, at, len(old)) == (kind_now, at_now, len(new))
        if kind == "rodata":
            found = {block(place) for place in differing(old, new)}
        else:
            found = changed_functions(at, old, new) if old != new else set()
        for name in sorted(found):
            print(name)


def pointers(*calls: str) -> None:
    """Print which constants have the addresses of the functions that serve system calls."""
    served = tuple(f"_sys_{call}" for call in calls)
    wanted = {address for address, name in functions() if name.endswith(served)}
    for kind, _, data in memory():
        if kind == "rodata":
            for number, word in enumerate(array("L", data[: len(data) // WORD * WORD])):
                if word in wanted:
                    print(block(number * WORD))


COMMANDS: dict[str, Callable[..., None]] = {
    "save": save,
    "compare": compare,
    "pointers": pointers,
}
COMMANDS[sys.argv[1]](*sys.argv[2:])
