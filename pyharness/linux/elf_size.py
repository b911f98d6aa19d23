# SPDX-License-Identifier: GPL-2.0
"""Says whether an ELF file whose author is not trusted can be read. Pure."""

from typing import Any

from elftools.common.exceptions import ELFError

# What the sections that are read may have that is not in the file: pyelftools has it in memory.
_MOST_BYTES = 64 << 20
# The sections that are read: by this package, and by pyelftools for debug information.
_READ = (".modinfo", "__versions", ".symtab", ".strtab", ".shstrtab", ".debug_", ".eh_frame")


class TooLarge(ELFError):
    """The sections that are read have more than a module's."""


def check(elf: Any) -> None:
    """Make sure that the sections of an ELF file need little more memory than the file has.

    Args:
        elf: the file, of pyelftools.

    Raises:
        TooLarge: the sections that are compressed, or that have a size without content, would need
            much more.
        Exception: the file is damaged; pyelftools raises errors of any kind.
    """
    size = 0
    for section in elf.iter_sections():
        if section.name.startswith(".zdebug_"):  # a format that is no kernel's, and has any size
            raise TooLarge
        is_empty = section["sh_type"] == "SHT_NOBITS" and section.name.startswith(_READ)
        if section.compressed or is_empty:
            size += section.data_size
    if size > _MOST_BYTES:
        raise TooLarge
