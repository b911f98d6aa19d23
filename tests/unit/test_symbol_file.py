# SPDX-License-Identifier: GPL-2.0
"""The files that gdb reads, with a kernel's functions and with a module; names of source files."""

import io
from types import SimpleNamespace
from typing import Any

import pytest
from elftools.elf.elffile import ELFFile

from pyharness.linux import module_layout, symbol_file, symbolize

KALLSYMS = """\
c1000000 T _stext
c1000ad0 t do_one_initcall
c1c00000 D jiffies
c12f05c0 W vfs_mkdir
00000000 A __per_cpu
e0c1a800 t reap\t[interceptor]
"""


def test_only_the_kernels_own_functions_are_kept() -> None:
    assert symbol_file.functions(KALLSYMS) == [
        ("_stext", 0xC1000000), ("do_one_initcall", 0xC1000AD0), ("vfs_mkdir", 0xC12F05C0),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("architecture", "machine", "high"),
    [("i386", "EM_386", 0), ("amd64", "EM_X86_64", 0xFFFFFFFF << 32),
     ("arm64", "EM_AARCH64", 0xFFFF8000 << 32)],
)  # fmt: skip
def test_the_file_is_read_as_it_was_written(architecture: str, machine: str, high: int) -> None:
    functions = [(name, high | address) for name, address in symbol_file.functions(KALLSYMS)]
    elf: Any = ELFFile(io.BytesIO(symbol_file.write(architecture, functions)))
    assert elf["e_machine"] == machine
    text = elf.get_section_by_name(".text")
    assert text["sh_type"] == "SHT_NOBITS"
    for name, address in functions:
        (symbol,) = elf.get_section_by_name(".symtab").get_symbol_by_name(name)
        assert symbol["st_value"] == address
        assert symbol["st_info"]["type"] == "STT_FUNC"
        assert elf.get_section(symbol["st_shndx"]).name == ".text"
        assert text["sh_addr"] <= address < text["sh_addr"] + text["sh_size"]


def test_a_source_file_may_have_any_name() -> None:
    program = {"version": 5, "include_directory": [b"/a\xff"]}
    path = symbolize._path(program, SimpleNamespace(dir_index=0, name=b"b\xff.c"))
    assert str(path) == "/a\ufffd/b\ufffd.c"


@pytest.mark.parametrize("architecture", ["i386", "amd64"])
def test_sections_have_no_addresses_for_gdb(architecture: str) -> None:
    written = symbol_file.write(architecture, symbol_file.functions(KALLSYMS))
    before, after = (
        list(ELFFile(io.BytesIO(file)).iter_sections())
        for file in (written, module_layout.without_addresses(written))
    )
    assert [section["sh_addr"] for section in after] == [0] * len(before)
    assert any(section["sh_addr"] for section in before)
    for one, other in zip(before, after, strict=True):
        assert dict(one.header) | {"sh_addr": 0} == dict(other.header)
