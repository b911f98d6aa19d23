# SPDX-License-Identifier: GPL-2.0
"""A module's file that was made to harm who reads it is refused, in little time and memory."""

import io
import resource
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import pytest
from elftools.elf.constants import SH_FLAGS
from elftools.elf.elffile import ELFFile

from pyharness.errors import ModuleRefused
from pyharness.linux import module_file

pytestmark = pytest.mark.test_limit(60)

_SOURCE = """
    .section .modinfo, "a"
    .asciz "license=GPL"
    .section __versions, "a"
    .long 1
    .asciz "_printk"
    .skip 52
    .section .debug_line
    .long 0
    .section .debug_info
    .long 0
    .text
    .globl init_module
init_module:
    call _printk
"""
_BOMB = 1 << 29  # bytes, of a thousandth when it is compressed
_NOBITS = 8


@pytest.fixture(scope="module")
def module(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("elf")
    (folder / "m.s").write_text(_SOURCE, encoding="ascii")
    subprocess.run(["as", "--32", "-o", folder / "m.ko", folder / "m.s"], check=True)
    return (folder / "m.ko").read_bytes()


@pytest.fixture(scope="module")
def bomb() -> bytes:
    compressor = zlib.compressobj(9)
    part = bytes(1 << 20)
    return b"".join(compressor.compress(part) for _ in range(_BOMB >> 20)) + compressor.flush()


def changed(module: bytes, name: str, field: int, value: int) -> bytes:
    """A module with another number in the header of a section (Elf32_Shdr)."""
    elf: Any = ELFFile(io.BytesIO(module))
    made = bytearray(module)
    at = elf["e_shoff"] + elf.get_section_index(name) * elf["e_shentsize"] + 4 * field
    struct.pack_into("<I", made, at, value)
    return bytes(made)


def replaced(module: bytes, name: str, content: bytes) -> bytes:
    """A module with another content of a section."""
    made = changed(module, name, 4, len(module))
    return changed(made, name, 5, len(content)) + content


def compressed(module: bytes, name: str, content: bytes, size: int) -> bytes:
    elf: Any = ELFFile(io.BytesIO(module))
    flags = elf.get_section_by_name(name)["sh_flags"] | SH_FLAGS.SHF_COMPRESSED
    header = struct.pack("<III", 1, size, 1)
    return changed(replaced(module, name, header + content), name, 2, flags)


def read_with_little_memory(module: bytes, folder: Path) -> str:
    """Read a module in another process, whose memory is limited; return what it prints."""
    path = folder / "read.ko"
    path.write_bytes(module)
    limit = 512 << 20
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from pyharness.errors import ModuleRefused\n"
        "from pyharness.linux import module_file\n"
        "from pyharness.linux.symbolize import Symbolizer\n"
        "data = Path(sys.argv[1]).read_bytes()\n"
        "lines = Symbolizer(data)\n"
        "lines.describe(1 << 24), lines.line_in('init_module', 0, 5)\n"
        "try: module_file.read(data)\n"
        "except ModuleRefused as error: print(error)\n"
        "with open('/proc/self/status') as status:\n"
        "    most = next(line for line in status if line.startswith('VmHWM'))\n"
        "assert int(most.split()[1]) < 300 << 10, most\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, path],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (4 * limit, 4 * limit)),
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", [".modinfo", "__versions"])
def test_a_compressed_section_of_the_kernel_is_refused(module: bytes, name: str) -> None:
    packed = zlib.compress(b"license=GPL\0" * 9)
    for content in (packed, b"garbage", packed[:-10]):
        with pytest.raises(ModuleRefused, match="compressed"):
            module_file.read(compressed(module, name, content, 108))


@pytest.mark.parametrize("name", [".modinfo", "__versions", ".debug_line", ".debug_info"])
def test_a_section_that_grows_takes_no_memory(
    module: bytes, name: str, bomb: bytes, tmp_path: Path
) -> None:
    said = read_with_little_memory(compressed(module, name, bomb, _BOMB), tmp_path)
    assert "compressed" in said or "more than 64 MiB" in said
    zeros = changed(changed(module, name, 1, _NOBITS), name, 5, _BOMB)
    assert "more than 64 MiB" in read_with_little_memory(zeros, tmp_path)


def test_any_error_of_the_library_is_damage(module: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RecursionError

    monkeypatch.setattr(module_file, "_undefined", fail)
    with pytest.raises(ModuleRefused, match="damaged"):
        module_file.read(module)


def test_symbols_of_another_size_are_damage(module: bytes) -> None:
    with pytest.raises(ModuleRefused, match="damaged"):
        module_file.read(changed(module, ".symtab", 9, 1))


def test_a_field_may_have_many_values(module: bytes) -> None:
    many = replaced(module, ".modinfo", b"a=\0" * 500_000)
    assert len(module_file.read(many).info["a"]) == 500_000


def test_a_message_names_few_symbols() -> None:
    names = frozenset(f"name_{number}" for number in range(100_000))
    found = module_file.ModuleFile(
        machine="EM_386",
        info={"license": ("GPL",), "vermagic": ("x",)},
        undefined=names,
        versions={},
        has_lines=False,
    )
    with pytest.raises(
        ModuleRefused, match=r"exports no name_0, name_1, .* and 99,990 more: "
    ) as error:
        module_file.check(found, architecture="i386", vermagic="x", exports={})
    assert len(str(error.value)) < 1000
