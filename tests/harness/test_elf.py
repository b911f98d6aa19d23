# SPDX-License-Identifier: GPL-2.0
"""What `inspect` refuses before insmod, on modules made here by the host's own assembler."""

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import hypothesis_profile  # noqa: F401
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyharness import ModuleRefused, UsageError
from pyharness.linux import module_file
from pyharness.linux.symbolize import Symbolizer

pytestmark = pytest.mark.smoke

VERMAGIC = "6.1.0-50-686-pae SMP preempt mod_unload modversions 686 "
EXPORTS = {"_printk": 0x12345678, "module_layout": 1}
SOURCE = f"""
    .section .modinfo, "a"
    .asciz "license=GPL"
    .asciz "parm=one:the first"
    .asciz "parm=two:the second"
    .asciz "parmtype=one_more:int"
    .asciz "parmtype=two:bool"
    .asciz "name=m"
    .asciz "vermagic={VERMAGIC}"
    .section __versions, "a"
    .long 0x12345678
    .asciz "_printk"
    .skip 52
    .text
    .globl init_module
init_module:
    call _printk
    .weak perhaps
    call perhaps
"""


def assembled(folder: Path, *options: str) -> bytes:
    """Assemble SOURCE."""
    (folder / "m.s").write_text(SOURCE, encoding="ascii")
    assembler = shutil.which("as")
    assert assembler, "apt-get install binutils"
    command = [assembler, "--32", *options, "-o", str(folder / "m.ko"), str(folder / "m.s")]
    subprocess.run(command, check=True)
    return (folder / "m.ko").read_bytes()


@pytest.fixture(scope="module")
def module(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return assembled(tmp_path_factory.mktemp("elf"))


@pytest.fixture(scope="module")
def module_with_lines(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return assembled(tmp_path_factory.mktemp("elf"), "-g")


def refuse(module: module_file.ModuleFile, **differing: object) -> str:
    expected: dict[str, object] = {
        "architecture": "i386",
        "vermagic": VERMAGIC,
        "exports": EXPORTS,
    }
    with pytest.raises(ModuleRefused) as caught:
        module_file.check(module, **(expected | differing))  # type: ignore[arg-type]
    return str(caught.value)


@pytest.mark.parametrize("name", ["one_more", "one-more", "two", "dyndbg"])
def test_a_parameter_that_a_module_has(module: bytes, name: str) -> None:
    module_file.check_parameters(module_file.read(module), [name])


def test_a_parameter_that_a_module_lacks(module: bytes) -> None:
    with pytest.raises(ModuleRefused, match="m has no parameter 'one': its parameters are one_mo"):
        module_file.check_parameters(module_file.read(module), ["two", "one"])
    without = replace(module_file.read(module), info={})
    with pytest.raises(ModuleRefused, match="no parameter 'two': it has none"):
        module_file.check_parameters(without, ["two"])


def test_a_value_that_the_kernel_refuses_is_an_error(module: bytes) -> None:
    read = module_file.read(module)
    said = "m: `may be' invalid for parameter `two'"
    assert module_file.wrong_value(read, f"x\n{said}\ny") == (
        "'may be' is not a value for the parameter two, whose type is bool"
    )
    assert "parameter one-more, whose type is int" in module_file.wrong_value(
        read, "`' invalid for parameter `one-more'"
    )
    assert module_file.wrong_value(read, "m: unknown parameter 'three' ignored") == ""


def test_a_value_that_is_too_long_is_reported(module: bytes) -> None:
    said = "method: string parameter too long"
    assert (
        module_file.wrong_value(module_file.read(module), said) == "the value of method is too long"
    )


@pytest.mark.parametrize(
    ("value", "given"),
    [("auto", "auto"), ("1", "1"), ("", ""), ("a,b=c'", "a,b=c'"), ("yes please", '"yes please"'),
     ("method=auto x=2", '"method=auto x=2"'), ("a\tb", '"a\tb"'), ("\u00a0", '"\u00a0"')],
)  # fmt: skip
def test_a_value_with_a_space_is_one_value(value: str, given: str) -> None:
    """The kernel would take what follows the space for another parameter, and ignore it."""
    assert module_file.quoted("method", value) == given


@pytest.mark.parametrize("value", ['a"b', "auto\nx=2", "a\0b"])
def test_a_value_that_the_kernel_cannot_take(value: str) -> None:
    with pytest.raises(UsageError, match="of the parameter method can't be given to a module"):
        module_file.quoted("method", value)


def test_what_a_module_says(module: bytes) -> None:
    found = module_file.read(module)
    assert found.machine == "EM_386"
    assert found.get("license") == "GPL"
    assert found.info["parm"] == ("one:the first", "two:the second")
    assert found.get("author") == ""
    assert found.undefined == {"_printk"}
    assert found.versions == {"_printk": 0x12345678}
    assert not found.has_lines
    module_file.check(found, architecture="i386", vermagic=VERMAGIC, exports=EXPORTS)


def test_what_a_kernel_refuses(module: bytes) -> None:
    found = module_file.read(module)
    assert "made for EM_386, and the guest is amd64" in refuse(found, architecture="amd64")
    assert "build it with that kernel's headers" in refuse(found, vermagic="6.1.0-9-686-pae SMP")
    assert "exports no _printk" in refuse(found, exports={"module_layout": 1})
    assert "another build of the kernel (_printk differs)" in refuse(found, exports={"_printk": 2})
    for license_ in ("Proprietary", "MIT", ""):
        info = found.info | {"license": (license_,)}
        assert 'MODULE_LICENSE("GPL")' in refuse(replace(found, info=info))
    without = {key: value for key, value in found.info.items() if key != "vermagic"}
    assert "made for kernel 'unknown'" in refuse(replace(found, info=without))


def test_every_truncation_is_refused(module: bytes) -> None:
    for size in range(0, len(module), 7):
        with pytest.raises(ModuleRefused):
            module_file.read(module[:size])


@given(data=st.binary())
def test_what_is_no_elf_file(data: bytes) -> None:
    with pytest.raises(ModuleRefused):
        module_file.read(data)


@given(at=st.integers(0, 10_000), value=st.integers(0, 255))
def test_damage_is_refused_or_harmless(module_with_lines: bytes, at: int, value: int) -> None:
    damaged = bytearray(module_with_lines)
    damaged[at % len(damaged)] = value
    try:
        module_file.read(bytes(damaged))
    except ModuleRefused:
        return
    lines = Symbolizer(bytes(damaged))
    lines.describe(1 << 24)
    lines.line_in("init_module", 0, 5)


def test_lines_of_a_module(module_with_lines: bytes) -> None:
    assert Symbolizer(module_with_lines).line_in("init_module", 0, 5).startswith("m.s:")


def test_a_program_is_no_module() -> None:
    with pytest.raises(ModuleRefused, match="not a kernel module"):
        module_file.read(Path("/bin/true").read_bytes())


def test_exports() -> None:
    text = "0x12345678\t_printk\tvmlinux\tEXPORT_SYMBOL\t\n0x1\tmodule_layout\tvmlinux\tx\t\n\n"
    assert module_file.parse_exports(text) == EXPORTS
