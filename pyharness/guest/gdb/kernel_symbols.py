# SPDX-License-Identifier: GPL-2.0
"""What gdb can know about the symbols of a guest's kernel."""

import re
from contextlib import suppress
from pathlib import Path
from typing import Any

from elftools.elf.elffile import ELFFile

from pyharness.errors import HarnessError, UsageError
from pyharness.guest.guest import Guest
from pyharness.guest.qemu_backend import QemuBackend
from pyharness.host import atomic
from pyharness.linux import symbol_file

# Where Debian's packages with debug information (linux-image-RELEASE-dbg) have the kernel.
_INSTALLED = "/usr/lib/debug/boot/vmlinux-{}"
# How a kernel says at which distance from its file's addresses it runs, when it panics.
_OFFSET = re.compile(r"Kernel Offset: (0x[0-9a-f]+) from")
# The first function of the kernel's code.
_TEXT = "_stext"
# The file in the folder of a saved state that has the functions of the kernel.
_KEPT = "kallsyms"


def functions(backend: QemuBackend, guest: Guest | None) -> list[tuple[str, int]]:
    """The name and address of each function of a guest's kernel; a name may occur several times.

    Guests that were started from one saved state have their functions at the same addresses, so
    that what one has said is known of one that has crashed. Nothing is known before that.

    Args:
        backend: what runs the guest.
        guest: the guest; None if it does not answer.
    """
    kept = _kept(backend)
    if guest:
        with suppress(HarnessError):  # it has crashed, or has no such file
            text = guest.get("/proc/kallsyms").decode(errors="replace")
            if not kept.exists():
                with suppress(OSError):
                    atomic.write_text(kept, text)
            return symbol_file.functions(text)
    with suppress(OSError):
        return symbol_file.functions(kept.read_text(encoding="utf-8"))
    return []


def keep(backend: QemuBackend, guest: Guest) -> None:
    """Have functions() know what it returns even after the guest has crashed."""
    if not _kept(backend).exists():
        functions(backend, guest)


def _kept(backend: QemuBackend) -> Path:
    return backend.saved_state.folder / _KEPT


def find(
    backend: QemuBackend, guest: Guest | None, named: Path | None, known: dict[str, int]
) -> dict[str, object]:
    """Describe the file with the kernel's symbols, for debugger.Description; empty without one.

    Args:
        backend: what runs the guest.
        guest: the guest; None if it does not answer.
        named: the file that the user has named, if any.
        known: the addresses of the kernel's functions, as far as they are known.

    Raises:
        UsageError: the user's file is not that of this kernel.
    """
    own = backend.saved_state.kernel.symbols
    found = named or own or Path(_INSTALLED.format(backend.facts.release))
    if not found.is_file():
        return {}
    try:
        text = _check(found, backend, guest)
    except UsageError:
        if named:
            raise
        return {}
    said = _OFFSET.search(backend.console_end())
    if _TEXT in known:
        offset = known[_TEXT] - text
    elif said or "RANDOMIZE_BASE" not in backend.facts.kernel_options:
        offset = int(said[1], 16) if said else 0
    else:
        return {}
    commands = found.with_name("vmlinux-gdb.py")
    return {
        "file": str(found.resolve()),
        "offset": offset,
        "commands": str(commands.resolve()) if commands.is_file() else "",
    }


def _check(vmlinux: Path, backend: QemuBackend, guest: Guest | None) -> int:
    """Return the address of the kernel's code in a file.

    Raises:
        UsageError: the file is not that of the guest's kernel.
    """
    with vmlinux.open("rb") as file:
        if file.read(4) != b"\x7fELF":
            raise UsageError(
                f"{vmlinux} is not an ELF file: name the vmlinux, not the image that boots"
            )
        elf: Any = ELFFile(file)
        table = elf.get_section_by_name(".symtab")
        symbols = table.get_symbol_by_name(_TEXT) if table else None
        rodata = elf.get_section_by_name(".rodata")
        if not symbols or rodata is None:
            raise UsageError(f"{vmlinux} has no symbols of a kernel")
        notes = elf.get_section_by_name(".notes")
        same = f"Linux version {backend.facts.release} ".encode() in rodata.data()
        if guest and notes is not None:
            with suppress(HarnessError):  # it has crashed
                same = guest.get("/sys/kernel/notes") == notes.data()
        if not same:
            raise UsageError(f"{vmlinux} is not of the kernel that {backend.facts} runs")
        return int(symbols[0]["st_value"])
