# SPDX-License-Identifier: GPL-2.0
"""Find the source line and function of an address in a module. Pure."""

import bisect
import io
import struct
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePosixPath
from typing import Any

from elftools.elf.constants import SH_FLAGS
from elftools.elf.elffile import ELFFile

from pyharness.linux import elf_size

# The offset and struct format of st_value in a symbol (Elf32_Sym, Elf64_Sym), by ELF class.
_VALUE = {32: (4, "I"), 64: (8, "Q")}
# The distance between sections whose address the caller did not give (bytes).
_APART = 1 << 24


@dataclass(frozen=True)
class _Function:
    name: str
    begin: int
    size: int


@dataclass(frozen=True)
class _Row:
    """The address at which the code of a source line begins.

    Attributes:
        address: the first address.
        line: ``file:line``; empty where a sequence of code ends.
        own: whether the line is in the module's sources, rather than in the kernel's headers.
    """

    address: int
    line: str
    own: bool


def _path(program: Any, entry: Any) -> PurePosixPath:
    """The path of an entry in a line table's list of files."""
    folders = program["include_directory"]
    index = entry.dir_index if program["version"] >= 5 else entry.dir_index - 1
    folder = folders[index].decode(errors="replace") if 0 <= index < len(folders) else ""
    return PurePosixPath(folder, entry.name.decode(errors="replace"))


class Symbolizer:
    """Finds source lines in one module, whose file must have been built with ``-g``.

    Attributes:
        sections: the address at which the kernel loaded each section, by the section's name.
    """

    def __init__(self, ko: bytes, sections: dict[str, int] | None = None) -> None:
        """Take a module's file.

        Args:
            ko: the content of the ``.ko`` file.
            sections: the address at which the kernel loaded each section, by the section's
                name (``/sys/module/NAME/sections``). line_in() does not need it.
        """
        self._ko = bytearray(ko)
        self.sections = sections or {}

    @cached_property
    def _elf(self) -> Any:
        """The file with an address for each section, as if it were linked.

        In a ``.ko`` every section begins at 0, so that an address is ambiguous. The line tables'
        addresses are relocations against symbols: moving the symbols moves them all.
        """
        elf: Any = ELFFile(io.BytesIO(bytes(self._ko)))
        elf_size.check(elf)
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
                bases[number] = self.sections.get(section.name, number * _APART)
        return bases

    @cached_property
    def _functions(self) -> list[_Function]:
        """The functions; none if the file is damaged."""
        try:
            return self._read_functions()
        except Exception:  # pyelftools raises errors of any kind
            return []

    def _read_functions(self) -> list[_Function]:
        table = self._elf.get_section_by_name(".symtab")
        return [
            _Function(symbol.name, symbol["st_value"], symbol["st_size"])
            for symbol in table.iter_symbols()
            if isinstance(symbol["st_shndx"], int)
        ]

    @cached_property
    def _rows(self) -> list[_Row]:
        """The rows of all line tables, in the order of their addresses; none if one is damaged."""
        try:
            return self._read_rows()
        except Exception:  # pyelftools raises errors of any kind
            return []

    def _read_rows(self) -> list[_Row]:
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
        # Where one sequence ends and another begins, the beginning counts: it is sorted last.
        return sorted(rows, key=lambda row: (row.address, row.line != ""))

    def line_at(self, address: int) -> str:
        """The source line of an address.

        Returns:
            ``file:line``. In a function that the compiler inlined from the kernel's headers,
            ``own:line (header:line)``: the nearest line of the module's sources before the address,
            and the header's. Empty if the address is not in the module's code.
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
        """The source line at an offset in a function.

        Args:
            function: the function's name.
            offset: from the function's beginning, in bytes.
            size: the function's size in bytes as the kernel prints it, up to the next function.
                Of several functions with the same name, the one nearest in size is taken.

        Returns:
            ``file:line``; ``own:line (header:line)`` in code inlined from the kernel's headers;
            empty if the function or its line is unknown.
        """
        named = [known for known in self._functions if known.name == function]
        if not named:
            return ""
        meant = min(named, key=lambda known: abs(known.size - size))
        return self.line_at(meant.begin + offset)

    def describe(self, address: int) -> str:
        """The source line and function of an address, as ``file:line, function()``.

        Empty if the address is in none of the module's functions.
        """
        for function in self._functions:
            if function.begin <= address < function.begin + function.size:
                return f"{self.line_at(address)}, {function.name}()"
        return ""
