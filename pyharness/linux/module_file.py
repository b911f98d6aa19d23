# SPDX-License-Identifier: GPL-2.0
"""What a ``.ko`` file says of itself, and whether a kernel would load it. Pure."""

import io
import re
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from pyharness.errors import ModuleRefused, UsageError

# What each Debian architecture's modules are made for.
_MACHINES = {"i386": "EM_386", "amd64": "EM_X86_64", "arm64": "EM_AARCH64"}
# include/linux/license.h, license_is_gpl_compatible()
_GPL = {
    "GPL", "GPL v2", "GPL and additional rights",
    "Dual BSD/GPL", "Dual MIT/GPL", "Dual MPL/GPL",
}  # fmt: skip
# What the kernel itself takes as a parameter of any module.
_ANY_MODULES = ("dyndbg", "async_probe")
# As kernel/params.c says it.
_WRONG_VALUE = re.compile(r"`(.*)' (?:invalid|too large) for parameter `([^']+)'")
_TOO_LONG = re.compile(r"(\S+): string parameter too long")
# What separates parameters, for the kernel.
_SPACES = {*b"\t\v\f\r ", 0xA0}
_VERSION_ENTRY = 64  # sizeof(struct modversion_info)


@dataclass(frozen=True, kw_only=True)
class ModuleFile:
    """What a module's file says.

    Attributes:
        machine: ELF's name of the machine it is for, such as ``EM_386``.
        info: the fields of ``.modinfo``; ``parm`` and others may come more than once.
        undefined: the kernel's symbols that it uses.
        versions: the checksum that it expects of each such symbol.
        has_lines: whether it has the file and line of each address.
    """

    machine: str
    info: dict[str, tuple[str, ...]]
    undefined: frozenset[str]
    versions: dict[str, int]
    has_lines: bool

    def get(self, field: str) -> str:
        """The first value of a field of ``.modinfo``, empty if there is none."""
        return (self.info.get(field) or ("",))[0]

    @property
    def parameters(self) -> dict[str, str]:
        """The type of each of its parameters, as the kernel calls it, by the parameter's name."""
        return dict(entry.split(":", 1) for entry in self.info.get("parmtype", ()) if ":" in entry)


def read(data: bytes) -> ModuleFile:
    """Read a module's file.

    Raises:
        ModuleRefused: it is no kernel module, or not a whole one.
    """
    if data[:4] != b"\x7fELF":
        raise ModuleRefused("not an ELF file: build the module with make")
    try:
        elf = ELFFile(io.BytesIO(data))
        _refuse_truncated(elf, len(data))
        if elf["e_type"] != "ET_REL":
            raise ModuleRefused("an ELF file, but no kernel module: name the .ko that make made")
        if (info := elf.get_section_by_name(".modinfo")) is None:
            raise ModuleRefused("an object file without .modinfo: name the .ko, not the .o")
        return ModuleFile(
            machine=elf["e_machine"],
            info=_modinfo(info.data()),
            undefined=_undefined(elf),
            versions=_versions(elf),
            has_lines=elf.get_section_by_name(".debug_line") is not None,
        )
    except (ELFError, struct.error, ValueError, KeyError, AttributeError, TypeError) as error:
        raise ModuleRefused("a damaged ELF file: build the module again") from error


def _refuse_truncated(elf: Any, size: int) -> None:
    table_end = elf["e_shoff"] + elf["e_shnum"] * elf["e_shentsize"]
    ends = [
        section["sh_offset"] + section["sh_size"]
        for section in elf.iter_sections()
        if section["sh_type"] != "SHT_NOBITS"
    ] if table_end <= size else []  # fmt: skip
    if not ends or max(ends) > size:
        raise ModuleRefused("a truncated ELF file: copy or build the module again")


def _modinfo(data: bytes) -> dict[str, tuple[str, ...]]:
    info: dict[str, tuple[str, ...]] = {}
    for entry in data.split(b"\0"):
        field, equals, value = entry.decode(errors="replace").partition("=")
        if equals:
            info[field] = (*info.get(field, ()), value)
    return info


def _undefined(elf: Any) -> frozenset[str]:
    table = elf.get_section_by_name(".symtab")
    if not isinstance(table, SymbolTableSection):
        return frozenset()
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
    data = section.data()
    found = {}
    for at in range(0, len(data), _VERSION_ENTRY):
        entry = data[at : at + _VERSION_ENTRY]
        name = entry[width:].split(b"\0")[0].decode(errors="replace")
        found[name] = int.from_bytes(entry[:width], "little" if elf.little_endian else "big")
    return found


def check_parameters(module: ModuleFile, names: Iterable[str]) -> None:
    """Refuse what a module has no parameter for: the kernel logs and ignores it.

    Raises:
        ModuleRefused: there is no such parameter; the message has those there are.
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
    """A parameter's value as the kernel takes it: one with a space stands in double quotes.

    Raises:
        UsageError: there is no spelling that the kernel would take as this value.
    """
    # isspace() of the kernel, which takes bytes as Latin-1: a no-break space is one, too.
    raw = value.encode(errors="surrogateescape")
    if '"' in value or "\n" in value or "\0" in value:
        raise UsageError(
            f"the value {value!r} of the parameter {name} can't be given to a module:"
            " the kernel takes no double quote, newline or zero byte in it"
        )
    return f'"{value}"' if set(raw) & _SPACES else value


def wrong_value(module: ModuleFile, log: str) -> str:
    """The parameter whose value the kernel refuses, as a sentence; empty if it's another reason.

    Args:
        module: that was to be loaded.
        log: what the kernel logged about that.
    """
    if found := _TOO_LONG.search(log):
        return f"the value of {found[1]} is too long"
    if not (found := _WRONG_VALUE.search(log)):
        return ""
    value, name = found.groups()
    kind = module.parameters.get(name.replace("-", "_"), "another")
    return f"{value!r} is no value for the parameter {name}, whose type is {kind}"


def parse_exports(symvers: str) -> dict[str, int]:
    """The checksum of each symbol that a kernel exports, from its ``Module.symvers``."""
    lines = (line.split("\t") for line in symvers.splitlines())
    return {words[1]: int(words[0], 16) for words in lines if len(words) >= 2}


def check(module: ModuleFile, *, architecture: str, vermagic: str, exports: dict[str, int]) -> None:
    """Refuse what that kernel would refuse, in its own order, with the fix.

    Args:
        module: what to load.
        architecture: Debian's name of the guest's.
        vermagic: what a module for its kernel says.
        exports: the kernel's symbols and their checksums.

    Raises:
        ModuleRefused: the kernel would not load it, or not let it use GPL symbols.
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
    if module.get("license") not in _GPL:
        raise ModuleRefused(
            f"its license is {module.get('license') or 'none'!r}, which may not use the kernel's"
            ' GPL symbols: MODULE_LICENSE("GPL")'
        )
    if missing := sorted(module.undefined - exports.keys()):
        raise ModuleRefused(
            f"the guest's kernel exports no {', '.join(missing)}: use what it does export"
        )
    differing = [name for name, crc in module.versions.items() if exports.get(name, crc) != crc]
    if differing:
        raise ModuleRefused(
            f"made against another build of the kernel ({min(differing)} differs): build it again"
        )
