# SPDX-License-Identifier: GPL-2.0
"""The file, line and function of an address in a module. Pure."""

import bisect
import io
import struct
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePosixPath
from typing import Any

from elftools.elf.constants import SH_FLAGS
from elftools.elf.elffile import ELFFile

# Where st_value stands in a symbol, and how wide it is (Elf32_Sym, Elf64_Sym).
_VALUE = {32: (4, "I"), 64: (8, "Q")}
_APART = 1 << 24


@dataclass(frozen=True)
class _Function:
    name: str
    begin: int
    size: int


@dataclass(frozen=True)
class _Row:
    """Where the code of a line begins; no line where code ends."""

    address: int
    line: str
    own: bool


def _path(program: Any, entry: Any) -> PurePosixPath:
    """A file of a line table."""
    folders = program["include_directory"]
    index = entry.dir_index if program["version"] >= 5 else entry.dir_index - 1
    folder = folders[index].decode() if 0 <= index < len(folders) else ""
    return PurePosixPath(folder, entry.name.decode())


class Symbolizer:
    """The lines of one module's file, which must have been built with ``-g``."""

    def __init__(self, ko: bytes, sections: dict[str, int] | None = None) -> None:
        """Read a module's file.

        Args:
            ko: the file.
            sections: where the kernel has put its sections, by name
                (``/sys/module/NAME/sections``); not needed to find a place by
                its function.
        """
        self._ko = bytearray(ko)
        self._sections = sections or {}

    @cached_property
    def _elf(self) -> Any:
        """The file, as if linked: each section has a place of its own.

        In a module's file each section begins at 0, so that an address means
        one of several places. The symbols are what all addresses in the line
        tables are made from, by relocation.
        """
        elf: Any = ELFFile(io.BytesIO(bytes(self._ko)))
        bases = self._bases(elf)
        at, letter = _VALUE[elf.elfclass]
        code = ("<" if elf.little_endian else ">") + letter
        table = elf.get_section_by_name(".symtab")
        for number, symbol in enumerate(table.iter_symbols()):
            if (base := bases.get(symbol["st_shndx"])) is not None:
                where = table["sh_offset"] + number * table["sh_entsize"] + at
                struct.pack_into(code, self._ko, where, base + symbol["st_value"])
        return ELFFile(io.BytesIO(bytes(self._ko)))

    def _bases(self, elf: Any) -> dict[int, int]:
        bases = {}
        for number, section in enumerate(elf.iter_sections()):
            if section["sh_flags"] & SH_FLAGS.SHF_ALLOC:
                bases[number] = self._sections.get(section.name, number * _APART)
        return bases

    @cached_property
    def _functions(self) -> list[_Function]:
        table = self._elf.get_section_by_name(".symtab")
        return [
            _Function(symbol.name, symbol["st_value"], symbol["st_size"])
            for symbol in table.iter_symbols()
            if isinstance(symbol["st_shndx"], int)
        ]

    @cached_property
    def _rows(self) -> list[_Row]:
        """Where each line's code begins, in the order of addresses."""
        rows: list[_Row] = []
        if self._elf.get_section_by_name(".debug_line") is None:
            return rows
        dwarf = self._elf.get_dwarf_info()
        for unit in dwarf.iter_CUs():
            program = dwarf.line_program_for_CU(unit)
            here = PurePosixPath(unit.get_top_DIE().get_full_path()).parent
            paths = [_path(program, entry) for entry in program["file_entry"]]
            first = 0 if program["version"] >= 5 else 1
            for entry in program.get_entries():
                if (state := entry.state) is None:
                    continue
                path = paths[state.file - first]
                line = "" if state.end_sequence else f"{path.name}:{state.line}"
                rows.append(_Row(state.address, line, path.is_relative_to(here)))
        # Where one ends another may begin: that one counts.
        return sorted(rows, key=lambda row: (row.address, row.line != ""))

    def line_at(self, address: int) -> str:
        """The line of an address, empty if it is none of the module's code.

        In a function that the compiler has put in place, of the kernel's
        headers: the module's own line that is nearest before it, and that one.
        """
        found = bisect.bisect_right(self._rows, address, key=lambda row: row.address) - 1
        if found < 0 or not (line := self._rows[found].line):
            return ""
        while found >= 0 and self._rows[found].line:
            if self._rows[found].own:
                own = self._rows[found].line
                return line if own == line else f"{own} ({line})"
            found -= 1
        return line

    def line_in(self, function: str, offset: int, size: int) -> str:
        """The line of a place in a function, empty if that is unknown.

        Args:
            function: its name.
            offset: from its beginning, in bytes.
            size: the function's, as the kernel says it: up to the next function.
                More than one may have the same name; the nearest in size is meant.
        """
        named = [known for known in self._functions if known.name == function]
        if not named:
            return ""
        meant = min(named, key=lambda known: abs(known.size - size))
        return self.line_at(meant.begin + offset)

    def describe(self, address: int) -> str:
        """The line of an address and its function, empty if it is in none of the module's."""
        for function in self._functions:
            if function.begin <= address < function.begin + function.size:
                return f"{self.line_at(address)}, {function.name}()"
        return ""
