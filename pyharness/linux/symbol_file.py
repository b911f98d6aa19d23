# SPDX-License-Identifier: GPL-2.0
"""Write an ELF file that has nothing but a kernel's functions, for gdb. Pure.

A distribution's kernel comes without the file that has its symbols, but /proc/kallsyms lists them.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass

# The type of a function in /proc/kallsyms: a letter as nm(1) prints it.
_FUNCTIONS = "tTwW"
# The numbers of <elf.h>.
_ET_EXEC = 2
_SHT_SYMTAB, _SHT_STRTAB, _SHT_NOBITS = 2, 3, 8
_SHF_ALLOC_EXECINSTR = 2 | 4
_STT_FUNC = 2
_TEXT = 1  # the number of the section
_NAMES = b"\0.text\0.symtab\0.strtab\0.shstrtab\0"


@dataclass(frozen=True)
class _Format:
    """The formats of one ELF class, for struct.

    Attributes:
        elf_class: its number.
        header: the format of the file's header.
        section: the format of a section's header.
        symbol: the format of a symbol.
        machine: the number of the architecture.
    """

    elf_class: int
    header: str
    section: str
    symbol: str
    machine: int


def _format(machine: int, *, wide: bool) -> _Format:
    pointer = "Q" if wide else "I"
    return _Format(
        elf_class=1 + wide,
        header=f"<16sHHI{pointer * 3}IHHHHHH",
        section=f"<II{pointer * 4}II{pointer * 2}",
        symbol="<IBBHQQ" if wide else "<IIIBBH",
        machine=machine,
    )


_FORMATS = {
    "i386": _format(3, wide=False),
    "amd64": _format(62, wide=True),
    "arm64": _format(183, wide=True),
}


def functions(kallsyms: str) -> list[tuple[str, int]]:
    """The name and address of each of the kernel's own functions, without those of modules.

    Args:
        kallsyms: the text of ``/proc/kallsyms``, as root reads it.
    """
    words = (line.split() for line in kallsyms.splitlines())
    return [
        (found[2], int(found[0], 16))
        for found in words
        if len(found) == 3 and found[1] in _FUNCTIONS  # a fourth word names the module
    ]


def write(architecture: str, symbols: Sequence[tuple[str, int]]) -> bytes:
    """Return the content of the file.

    Args:
        architecture: the kernel's, as Debian calls it.
        symbols: the name and address of each function, at least one.
    """
    layout = _FORMATS[architecture]
    addresses = [address for _, address in symbols]
    begin, end = min(addresses), max(addresses) + 1
    strings, table = bytearray(1), bytearray(struct.calcsize(layout.symbol))
    for name, address in symbols:
        values = (len(strings), _STT_FUNC, 0, _TEXT, address, 0)
        if layout.elf_class == 1:
            values = (len(strings), address, 0, _STT_FUNC, 0, _TEXT)
        table += struct.pack(layout.symbol, *values)
        strings += name.encode() + b"\0"

    header = struct.calcsize(layout.header)
    symbol, section = struct.calcsize(layout.symbol), struct.calcsize(layout.section)
    at = (header, header + len(table), header + len(table) + len(strings))
    # Name, type, flags, address, offset, size, link, info, alignment, size of an entry.
    sections = (
        (0,) * 10,
        (1, _SHT_NOBITS, _SHF_ALLOC_EXECINSTR, begin, header, end - begin, 0, 0, 1, 0),
        (7, _SHT_SYMTAB, 0, 0, at[0], len(table), 3, len(symbols) + 1, 1, symbol),
        (15, _SHT_STRTAB, 0, 0, at[1], len(strings), 0, 0, 1, 0),
        (23, _SHT_STRTAB, 0, 0, at[2], len(_NAMES), 0, 0, 1, 0),
    )
    head = struct.pack(
        layout.header,
        b"\x7fELF" + bytes((layout.elf_class, 1, 1)),
        _ET_EXEC, layout.machine, 1,
        0, 0, at[2] + len(_NAMES), 0,
        header, 0, 0, section, len(sections), len(sections) - 1,
    )  # fmt: skip
    heads = b"".join(struct.pack(layout.section, *values) for values in sections)
    return head + bytes(table) + bytes(strings) + _NAMES + heads
