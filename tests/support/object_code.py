# SPDX-License-Identifier: GPL-2.0
"""What functions of a module do, by their object code as ``objdump -dr`` prints it."""

import re
from collections.abc import Iterator
from typing import IO

from elftools.elf.elffile import ELFFile
from elftools.elf.relocation import RelocationSection
from elftools.elf.sections import SymbolTableSection

_FUNCTION = re.compile(r"^[0-9a-f]+ <(\w+)>:\n((?:.+\n)+)", re.MULTILINE)
_INSTRUCTION = re.compile(r"\s+[0-9a-f]+:\t([^#<]+)")
# Where a program's variable, as opposed to the stack or what a pointer says, is written to. On x86
# that is the last operand, without a register, or relative to the instruction; with a segment it is
# the CPU's own. On arm64 the linker fills the variable's address in.
_READS = r"cmp(?!xchg)|test|j|call|push|nop|ret"
_STATIC_X86 = re.compile(rf"(?!{_READS})\w+\s+(?:.*,)?(?:-?0x[0-9a-f]+(?:\(%rip\))?|\(%rip\))\s*")
_STATIC_ARM64 = re.compile(r"R_AARCH64_LDST\d+_ABS_LO12")
_ATOMIC = re.compile(
    r"\block\b(?!.*\(%[er]sp\))|\bxchg\w*\s.*\(|\bst(?:lr|l?xp|l?xr)[bh]?\b|\b(?:ldadd|ldclr|ldset|ldeor|swp|cas)"
)


def functions(text: str) -> dict[str, str]:
    """Return the lines of each function by its name."""
    return dict(_FUNCTION.findall(text))


def shared_writes(body: str) -> Iterator[str]:
    """Yield a function's instructions that write memory of all CPUs: atomically, or a variable.

    Other writes to where a pointer says are not seen.
    """
    instruction = ""
    for line in body.splitlines():
        found = _INSTRUCTION.match(line)
        if found:
            instruction = found[1].strip()
            if _ATOMIC.search(instruction) or _STATIC_X86.fullmatch(instruction):
                yield instruction
        elif _STATIC_ARM64.search(line) and instruction.startswith("st"):
            yield instruction


def sealed(file: IO[bytes]) -> set[str]:
    """Return a module's functions whose landing for indirect branches the kernel overwrites."""
    elf = ELFFile(file)
    listed = elf.get_section_by_name(".rela.ibt_endbr_seal")
    symbols = elf.get_section_by_name(".symtab")
    assert isinstance(symbols, SymbolTableSection)
    if not isinstance(listed, RelocationSection):  # a kernel without indirect branch tracking
        return set()
    names = {
        (symbol["st_shndx"], symbol["st_value"]): symbol.name
        for symbol in symbols.iter_symbols()
        if symbol["st_info"]["type"] == "STT_FUNC"
    }
    places = [
        (symbols.get_symbol(entry["r_info_sym"]), entry["r_addend"])
        for entry in listed.iter_relocations()
    ]
    return {names[at["st_shndx"], at["st_value"] + addend] for at, addend in places}
