# SPDX-License-Identifier: GPL-2.0
"""GCC's coverage counters: read them in a module's memory, add them up, write .gcda files. Pure.

GCC compiles counters into each object (``-fprofile-arcs``), and with ``-fprofile-info-section`` a
``struct gcov_info`` that points to them. What the structures look like is in GCC's
``libgcc/libgcov.h``; what the files look like, in its ``gcc/gcov-io.h``.
"""

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

# GCC has -fprofile-info-section since this version.
FIRST_GCC = 11
_NOTES_MAGIC, _DATA_MAGIC = b"gcno"[::-1], b"gcda"[::-1]
_TAG_FUNCTION, _TAG_COUNTERS = 0x01000000, 0x01A10000
# Since this version of GCC, files have a checksum, and lengths are in bytes instead of words.
_IN_BYTES = 12
# How many kinds of counters there are: since GCC 14, conditions have some, too.
_KINDS, _KINDS_14 = 8, 9


@dataclass(frozen=True)
class Region:
    """A piece of memory.

    Attributes:
        address: where it begins.
        data: what is in it.
    """

    address: int
    data: bytes


@dataclass(frozen=True)
class Notes:
    """The head of a ``.gcno`` file, which GCC writes beside an object.

    Attributes:
        version: GCC's version, as the file has it.
        stamp: the stamp that the object's counters have, too.
    """

    version: int
    stamp: int

    @classmethod
    def parse(cls, data: bytes) -> "Notes":
        """Parse the contents of a file.

        Raises:
            ValueError: it is not such a file.
        """
        if data[:4] != _NOTES_MAGIC or len(data) < 12:
            raise ValueError("no .gcno file")
        return cls(*struct.unpack_from("<II", data, 4))

    @property
    def gcc(self) -> int:
        """The major version of GCC."""
        letter, digit = (self.version >> 24) & 0xFF, (self.version >> 16) & 0xFF
        return (letter - ord("A")) * 10 + digit - ord("0")


@dataclass(frozen=True)
class Function:
    """What identifies a function of an object: its number, and checksums of its lines and graph."""

    ident: int
    lines_checksum: int
    graph_checksum: int


# The counters of an object, by function.
Counters = dict[Function, tuple[int, ...]]


class _Memory:
    """The memory of a module."""

    def __init__(self, regions: Iterable[Region], pointer_bytes: int) -> None:
        self._regions = tuple(regions)
        self._pointer = "<Q" if pointer_bytes == 8 else "<I"

    def read(self, address: int, size: int) -> bytes:
        for region in self._regions:
            offset = address - region.address
            if offset >= 0 and offset + size <= len(region.data):
                return region.data[offset : offset + size]
        raise ValueError(f"{size} bytes at {address:#x} are not in the module's memory")

    def words(self, address: int, count: int) -> tuple[int, ...]:
        return struct.unpack(f"<{count}I", self.read(address, 4 * count))

    def pointer(self, address: int) -> int:
        size = struct.calcsize(self._pointer)
        found: int = struct.unpack(self._pointer, self.read(address, size))[0]
        return found

    def places_of(self, data: bytes) -> list[int]:
        """The addresses, divisible by 4, at which the memory has some bytes."""
        places = []
        for region in self._regions:
            at = region.data.find(data)
            while at >= 0:
                if (region.address + at) % 4 == 0:
                    places.append(region.address + at)
                at = region.data.find(data, at + 1)
        return places


def read_counters(notes: Notes, regions: Iterable[Region], *, pointer_bytes: int) -> Counters:
    """Read an object's counters out of the memory of the module that it was linked into.

    Args:
        notes: the head of the object's ``.gcno`` file.
        regions: the module's memory.
        pointer_bytes: the size of a pointer: 4 or 8.

    Returns:
        The counters of each function that has any.

    Raises:
        ValueError: the memory has no counters of that object.
    """
    memory = _Memory(regions, pointer_bytes)
    kinds = _KINDS_14 if notes.gcc >= 14 else _KINDS
    # struct gcov_info: version, next, stamp, checksum (since GCC 12), filename, merge[kinds],
    # n_functions, functions
    for at in memory.places_of(struct.pack("<I", notes.version)):
        try:
            if memory.words(at + 2 * pointer_bytes, 1)[0] != notes.stamp:
                continue
            merge = at + (32 if pointer_bytes == 8 else 20 if notes.gcc >= _IN_BYTES else 16)
            used = [memory.pointer(merge + n * pointer_bytes) != 0 for n in range(kinds)]
            number = merge + kinds * pointer_bytes
            (count,) = memory.words(number, 1)
            table = memory.pointer(number + pointer_bytes)
            found = (memory.pointer(table + n * pointer_bytes) for n in range(count))
            return dict(
                _function(memory, at, where, used, pointer_bytes) for where in found if where
            )
        except ValueError:
            continue  # not the structure, but the same bytes
    raise ValueError("the module's memory has no counters of the object")


def _function(
    memory: _Memory, key: int, at: int, used: list[bool], pointer_bytes: int
) -> tuple[Function, tuple[int, ...]]:
    """Read a struct gcov_fn_info: key, ident, two checksums, then count and values by kind."""
    if memory.pointer(at) != key:
        # A function that the linker dropped for another object's copy, which counts there.
        ident, lines, graph = memory.words(at + pointer_bytes, 3)
        return Function(ident, lines, graph), ()
    ident, lines, graph = memory.words(at + pointer_bytes, 3)
    counters = at + pointer_bytes + 12
    counters += -counters % pointer_bytes
    if not used[0]:
        return Function(ident, lines, graph), ()
    (count,) = memory.words(counters, 1)
    values = memory.pointer(counters + pointer_bytes)
    numbers = struct.unpack(f"<{count}q", memory.read(values, 8 * count)) if count else ()
    return Function(ident, lines, graph), numbers


def added(
    some: Mapping[Function, tuple[int, ...]], more: Mapping[Function, tuple[int, ...]]
) -> Counters:
    """Add up two runs' counters of the same object."""
    total = dict(some)
    for function, values in more.items():
        before = total.get(function, (0,) * len(values))
        total[function] = tuple(map(sum, zip(before, values, strict=True)))
    return total


def data_file(notes: Notes, counters: Mapping[Function, tuple[int, ...]]) -> bytes:
    """Return the contents of the ``.gcda`` file that gcov reads beside the ``.gcno`` file."""
    unit = 1 if notes.gcc >= _IN_BYTES else 4
    head = [notes.version, notes.stamp, *([0] if notes.gcc >= _IN_BYTES else [])]
    parts = [_DATA_MAGIC, struct.pack(f"<{len(head)}I", *head)]
    for function, values in counters.items():
        parts.append(
            struct.pack(
                "<5I",
                _TAG_FUNCTION,
                12 // unit,
                function.ident,
                function.lines_checksum,
                function.graph_checksum,
            )
        )
        if values:
            parts.append(
                struct.pack(f"<II{len(values)}q", _TAG_COUNTERS, 8 * len(values) // unit, *values)
            )
    return b"".join(parts)
