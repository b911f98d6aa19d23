# SPDX-License-Identifier: GPL-2.0
"""Read a ``.ko`` file, and check whether a kernel would load it. Pure."""

import io
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from pyharness.errors import ModuleRefused, UsageError
from pyharness.linux import elf_size

# ELF's name of each Debian architecture.
_MACHINES = {"i386": "EM_386", "amd64": "EM_X86_64", "arm64": "EM_AARCH64"}
# include/linux/license.h, license_is_gpl_compatible()
_GPL = {
    "GPL", "GPL v2", "GPL and additional rights",
    "Dual BSD/GPL", "Dual MIT/GPL", "Dual MPL/GPL",
}  # fmt: skip
# Parameters that the kernel itself handles for every module.
_ANY_MODULES = ("dyndbg", "async_probe")
# Messages of kernel/params.c.
_WRONG_VALUE = re.compile(r"`(.*)' (?:invalid|too large) for parameter `([^']+)'")
_TOO_LONG = re.compile(r"(\S+): string parameter too long")
# Bytes at which the kernel separates parameters. A newline is one, too; quoted() refuses it.
_SPACES = {*b"\t\v\f\r ", 0xA0}
_VERSION_ENTRY = 64  # sizeof(struct modversion_info)
_SYMBOL_BYTES = {32: 16, 64: 24}  # sizeof(Elf32_Sym), sizeof(Elf64_Sym)
_NAMED = 10  # symbols in a message


@dataclass(frozen=True, kw_only=True)
class ModuleFile:
    """The contents of a module's file.

    Attributes:
        machine: ELF's name of the architecture, such as ``EM_386``.
        info: the values of each field of ``.modinfo``; ``parm`` and others may have several.
        undefined: the kernel symbols that the module needs; weak ones are left out.
        versions: the CRC that the module expects of each of these symbols; empty if the
            kernel was configured without CONFIG_MODVERSIONS.
        has_lines: whether the file has DWARF line tables (``.debug_line``).
    """

    machine: str
    info: dict[str, tuple[str, ...]]
    undefined: frozenset[str]
    versions: dict[str, int]
    has_lines: bool

    def get(self, field: str) -> str:
        """The first value of a field of ``.modinfo``; empty if there is none."""
        return (self.info.get(field) or ("",))[0]

    @property
    def parameters(self) -> dict[str, str]:
        """The kernel's name for the type of each parameter, such as ``int``, by parameter."""
        return dict(entry.split(":", 1) for entry in self.info.get("parmtype", ()) if ":" in entry)


def read(data: bytes) -> ModuleFile:
    """Parse a module's file.

    Raises:
        ModuleRefused: the file is not a kernel module, or is truncated or damaged.
    """
    if data[:4] != b"\x7fELF":
        raise ModuleRefused("not an ELF file: build the module with make")
    try:
        return _read(ELFFile(io.BytesIO(data)), len(data))
    except ModuleRefused:
        raise
    except elf_size.TooLarge as error:
        raise ModuleRefused(
            "an ELF file whose sections have more than 64 MiB: build the module without compression"
        ) from error
    except Exception as error:  # pyelftools raises errors of any kind
        raise ModuleRefused("a damaged ELF file: build the module again") from error


def _read(elf: Any, size: int) -> ModuleFile:
    _refuse_truncated(elf, size)
    elf_size.check(elf)
    if elf["e_type"] != "ET_REL":
        raise ModuleRefused("an ELF file, but not a kernel module: name the .ko that make made")
    if (info := elf.get_section_by_name(".modinfo")) is None:
        raise ModuleRefused("an object file without .modinfo: name the .ko, not the .o")
    return ModuleFile(
        machine=elf["e_machine"],
        info=_modinfo(_data(info)),
        undefined=_undefined(elf),
        versions=_versions(elf),
        has_lines=elf.get_section_by_name(".debug_line") is not None,
    )


def _refuse_truncated(elf: Any, size: int) -> None:
    table_end = elf["e_shoff"] + elf["e_shnum"] * elf["e_shentsize"]
    ends = [
        section["sh_offset"] + section["sh_size"]
        for section in elf.iter_sections()
        if section["sh_type"] != "SHT_NOBITS"
    ] if table_end <= size else []  # fmt: skip
    if not ends or max(ends) > size:
        raise ModuleRefused("a truncated ELF file: copy or build the module again")


def _data(section: Any) -> bytes:
    """The content of a section that the kernel reads, too; it decompresses none."""
    if section.compressed:
        raise ModuleRefused(f"its {section.name} is compressed: build the module without that")
    return bytes(section.data())


def _modinfo(data: bytes) -> dict[str, tuple[str, ...]]:
    info: dict[str, list[str]] = {}
    for entry in data.split(b"\0"):
        field, equals, value = entry.decode(errors="replace").partition("=")
        if equals:
            info.setdefault(field, []).append(value)
    return {field: tuple(values) for field, values in info.items()}


def _undefined(elf: Any) -> frozenset[str]:
    table = elf.get_section_by_name(".symtab")
    if not isinstance(table, SymbolTableSection):
        return frozenset()
    if table["sh_entsize"] != _SYMBOL_BYTES[elf.elfclass]:
        raise ValueError("the table's symbols are of no known size")
    return frozenset(
        symbol.name
        for symbol in table.iter_symbols()
        if symbol["st_shndx"] == "SHN_UNDEF"
        and symbol.name
        and symbol["st_info"]["bind"] != "STB_WEAK"
    )


def _versions(elf: Any) -> dict[str, int]:
    section = elf.get_section_by_name("__versions")
    if section is None:
        return {}
    width = elf.elfclass // 8
    data = _data(section)
    found = {}
    for at in range(0, len(data), _VERSION_ENTRY):
        entry = data[at : at + _VERSION_ENTRY]
        name = entry[width:].split(b"\0")[0].decode(errors="replace")
        found[name] = int.from_bytes(entry[:width], "little" if elf.little_endian else "big")
    return found


def check_parameters(module: ModuleFile, names: Iterable[str]) -> None:
    """Refuse parameters that a module doesn't have; the kernel would only log and ignore them.

    As for the kernel, ``-`` and ``_`` are the same in a name.

    Raises:
        ModuleRefused: a parameter doesn't exist; the message lists those that do.
    """
    known = module.parameters
    same = {name.replace("-", "_") for name in (*known, *_ANY_MODULES)}
    for name in names:
        if name.replace("-", "_") not in same:
            there_are = f"its parameters are {', '.join(known)}" if known else "it has none"
            raise ModuleRefused(
                f"{module.get('name') or 'the module'} has no parameter {name!r}: {there_are}"
            )


def quoted(name: str, value: str) -> str:
    """Write a parameter's value for the kernel: in double quotes if it contains a space.

    Args:
        name: the parameter's name, for the error message.
        value: the value that the module is to get.

    Raises:
        UsageError: the value has a double quote, newline or zero byte, which the kernel
            does not accept.
    """
    # The kernel's isspace() reads bytes as Latin-1, where 0xA0 is a no-break space.
    raw = value.encode(errors="surrogateescape")
    if '"' in value or "\n" in value or "\0" in value:
        raise UsageError(
            f"the value {value!r} of the parameter {name} can't be given to a module:"
            " the kernel takes no double quote, newline or zero byte in it"
        )
    return f'"{value}"' if set(raw) & _SPACES else value


def wrong_value(module: ModuleFile, log: str) -> str:
    """Explain which parameter's value made the kernel refuse a module.

    Args:
        module: the module that was to be loaded.
        log: what the kernel logged during the attempt.

    Returns:
        A clause that names the parameter; empty if the kernel refused for another reason.
    """
    if found := _TOO_LONG.search(log):
        return f"the value of {found[1]} is too long"
    if not (found := _WRONG_VALUE.search(log)):
        return ""
    value, name = found.groups()
    kind = module.parameters.get(name.replace("-", "_"), "another")
    return f"{value!r} is not a value for the parameter {name}, whose type is {kind}"


def parse_exports(symvers: str) -> dict[str, int]:
    """Parse ``Module.symvers``: the CRC of each symbol that a kernel exports, by symbol."""
    lines = (line.split("\t") for line in symvers.splitlines())
    return {words[1]: int(words[0], 16) for words in lines if len(words) >= 2}


def check(
    module: ModuleFile,
    *,
    architecture: str,
    vermagic: str,
    exports: dict[str, int],
    any_license: bool = False,
) -> None:
    """Refuse a module that a kernel would refuse; the checks are in the kernel's own order.

    Args:
        module: the module to load.
        architecture: the guest's architecture, by Debian's name.
        vermagic: the ``vermagic`` field of modules built for the guest's kernel.
        exports: the CRC of each symbol that the guest's kernel exports, by symbol.
        any_license: whether a license is accepted with which a module may not use GPL symbols: the
            kernel loads it if it uses none.

    Raises:
        ModuleRefused: the kernel would not load the module, or not let it use GPL symbols;
            the message names the fix.
    """
    machine = _MACHINES[architecture]
    if module.machine != machine:
        raise ModuleRefused(
            f"made for {module.machine}, and the guest is {architecture} ({machine}):"
            " build it in the guest"
        )
    said = module.get("vermagic")
    if said.strip() != vermagic.strip():
        raise ModuleRefused(
            f"made for kernel {said or 'unknown'!r}, and the guest runs {vermagic!r}:"
            " build it with that kernel's headers"
        )
    if not any_license and module.get("license") not in _GPL:
        raise ModuleRefused(
            f"its license is {module.get('license') or 'none'!r}, which may not use the kernel's"
            ' GPL symbols: MODULE_LICENSE("GPL")'
        )
    if missing := sorted(module.undefined - exports.keys()):
        more = len(missing) - _NAMED
        names = ", ".join(missing[:_NAMED]) + (f" and {more:,} more" if more > 0 else "")
        raise ModuleRefused(f"the guest's kernel exports no {names}: use what it does export")
    differing = [name for name, crc in module.versions.items() if exports.get(name, crc) != crc]
    if differing:
        raise ModuleRefused(
            f"made against another build of the kernel ({min(differing)} differs): build it again"
        )
