# SPDX-License-Identifier: GPL-2.0
"""Tell where a debugger finds, in the kernel's memory, the addresses of a module's sections. Pure.

Before it runs a module's init function, the kernel has the module's whole symbol table in memory,
with an address in place of each value, in the order of the file. One symbol of a section is enough
to know where the section is. ``struct module`` points to that table, and the debug information of
each module's file describes ``struct module``, so that no file of the kernel is needed.
"""

import io
from dataclasses import dataclass
from typing import Any

from elftools.dwarf.die import DIE
from elftools.elf.constants import SH_FLAGS
from elftools.elf.elffile import ELFFile

from pyharness.errors import UsageError

# The size of a symbol (Elf32_Sym, Elf64_Sym) and the offset of its value in it, by ELF class.
_SYMBOL = {32: (16, 4), 64: (24, 8)}
# The offset and size of the address in a section's header (Elf32_Shdr, Elf64_Shdr), by ELF class.
_ADDRESS = {32: (12, 4), 64: (16, 8)}
# The structures of include/linux/module.h, and their members, that lead to the table.
_NAME = ("module", "name")
_TABLES = ("module", "kallsyms")
_TABLE = ("mod_kallsyms", "symtab")


@dataclass(frozen=True, kw_only=True)
class ModuleLayout:
    """Where a debugger finds the addresses of a module's sections.

    Attributes:
        name: the offset in ``struct module`` of its name, in bytes.
        tables: the offset in ``struct module`` of the pointer to ``struct mod_kallsyms``.
        table: the offset in ``struct mod_kallsyms`` of the pointer to the symbol table.
        sections: for each section with a symbol, the offset in the table of the symbol's value,
            and that value in the module's file, by which it differs from the section's address.
    """

    name: int
    tables: int
    table: int
    sections: dict[str, tuple[int, int]]


def read(ko: bytes) -> ModuleLayout:
    """Read the layout from a module's file.

    Args:
        ko: the content of the ``.ko`` file.

    Raises:
        UsageError: it has no debug information.
    """
    elf: Any = ELFFile(io.BytesIO(ko))
    members = _members(elf) if elf.get_section_by_name(".debug_info") else {}
    if missing := [member for member in (_NAME, _TABLES, _TABLE) if member not in members]:
        structure, member = missing[0]
        raise UsageError(
            f"a debugger can't find the module's code: the module has no debug information about"
            f" {member} of struct {structure}: build it with -g, for a kernel with CONFIG_KALLSYMS"
        )
    return ModuleLayout(
        name=members[_NAME],
        tables=members[_TABLES],
        table=members[_TABLE],
        sections=_sections(elf),
    )


def without_addresses(ko: bytes) -> bytes:
    """Return a module's file with the address 0 for each section, as the compiler had it.

    The linker gives some sections of modules an address from 6.12 on, after the kernel's
    scripts/module.lds. gdb (13) takes a file in which any section has one for a program that is not
    to be relocated, and looks for all code in .text.
    """
    elf: Any = ELFFile(io.BytesIO(ko))
    at, size = _ADDRESS[elf.elfclass]
    changed = bytearray(ko)
    for number in range(elf.num_sections()):
        begin = elf["e_shoff"] + number * elf["e_shentsize"] + at
        changed[begin : begin + size] = bytes(size)
    return bytes(changed)


def section(ko: bytes, name: str) -> bytes:
    """Return the content of a section of a module's file; empty if there is no such section."""
    elf: Any = ELFFile(io.BytesIO(ko))
    found = elf.get_section_by_name(name)
    return bytes(found.data()) if found else b""


def _members(elf: Any) -> dict[tuple[str, str], int]:
    """The offsets of the wanted members, by structure and member."""
    wanted = {structure for structure, _ in (_NAME, _TABLES, _TABLE)}
    found = {}
    for unit in elf.get_dwarf_info().iter_CUs():
        for die in unit.get_top_DIE().iter_children():
            if die.tag == "DW_TAG_structure_type" and _name(die) in wanted:
                for member in die.iter_children():
                    offset = member.attributes.get("DW_AT_data_member_location")
                    if offset and isinstance(offset.value, int):
                        found[_name(die), _name(member)] = offset.value
        if {structure for structure, _ in found} == wanted:
            break
    return found


def _name(die: DIE) -> str:
    name = die.attributes.get("DW_AT_name")
    return name.value.decode(errors="replace") if name else ""


def _sections(elf: Any) -> dict[str, tuple[int, int]]:
    size, at = _SYMBOL[elf.elfclass]
    found: dict[str, tuple[int, int]] = {}
    places = [*elf.iter_sections()]
    for number, symbol in enumerate(elf.get_section_by_name(".symtab").iter_symbols()):
        if isinstance(symbol["st_shndx"], int):
            place = places[symbol["st_shndx"]]
            if place["sh_flags"] & SH_FLAGS.SHF_ALLOC and "percpu" not in place.name:
                found.setdefault(place.name, (number * size + at, symbol["st_value"]))
    return found
