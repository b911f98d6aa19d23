# SPDX-License-Identifier: GPL-2.0
"""Runs gdb on a guest's kernel, with the symbols of modules at their addresses.

QEMU speaks gdb's protocol. Modules that are loaded have their symbols at once, and those that are
loaded later before their init function runs, so that a breakpoint in it works.
"""

import json
import os
import re
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from elftools.elf.elffile import ELFFile

from pyharness.errors import GuestError, HostError, UsageError
from pyharness.guest.build import module_name
from pyharness.guest.guest import Guest
from pyharness.host import packages, signals
from pyharness.host.programs import environment, which
from pyharness.linux import module_layout, symbol_file

# in_gdb.py has its name, too.
VARIABLE = "PYHARNESS_GDB"
_SCRIPT = Path(__file__).with_name("in_gdb.py")
# Where Debian's packages with debug information (linux-image-RELEASE-dbg) have the kernel.
_INSTALLED = "/usr/lib/debug/boot/vmlinux-{}"
# How a kernel says at which distance from its file's addresses it runs, when it panics.
_OFFSET = re.compile(r"Kernel Offset: (0x[0-9a-f]+) from")
# The function that runs a module's init function, and the first one of the kernel's code.
_LOADING, _TEXT = "do_init_module", "_stext"


@dataclass(frozen=True)
class _Registers:
    """How an architecture passes a function's first argument.

    Attributes:
        first_argument: the register, as gdb names it.
        pointer: its size, in bytes.
        has_frames: whether the kernel's functions keep frame pointers that gdb does not find.
    """

    first_argument: str
    pointer: int
    has_frames: bool = False


_REGISTERS = {
    "i386": _Registers("$eax", 4, has_frames=True),  # the kernel is built with -mregparm=3
    "amd64": _Registers("$rdi", 8),
    "arm64": _Registers("$x0", 8),
}


@dataclass(frozen=True, kw_only=True)
class Description:
    """What in_gdb.py has to know about a guest.

    Attributes:
        socket: the path of QEMU's socket.
        loading: the address of the function that runs a module's init function; 0 if it is not
            known.
        first_argument: the register with a function's first argument, as gdb names it.
        pointer: the size of a pointer, in bytes.
        mask: the bits of a pointer.
        kernel: the ``file`` with the kernel's symbols, which may be empty, the ``offset`` of its
            addresses, and the file with its ``commands``, which may be empty.
        functions: the address of each of the kernel's functions if there is no such file.
        begins: the sorted addresses of these functions if they keep frame pointers.
        modules: for each module, its ``file``, the ``layout`` of its sections
            (module_layout.ModuleLayout), and the addresses of its ``sections`` if it is loaded.
        sources: for each folder of sources as a compiler saw it, the folder on this host.
    """

    socket: str = ""
    loading: int = 0
    first_argument: str
    pointer: int
    mask: int
    kernel: dict[str, object] = field(default_factory=dict)
    functions: dict[str, int] = field(default_factory=dict)
    begins: list[int] = field(default_factory=list)
    modules: dict[str, dict[str, Any]] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)


def program(architecture: str) -> str:
    """Return the gdb of this host that debugs guests of an architecture.

    Raises:
        HostError: this host has none.
    """
    foreign = architecture == "arm64" and os.uname().machine != "aarch64"
    # Fedora's gdb, for one, debugs all architectures.
    for name in ("gdb-multiarch", "gdb")[not foreign :]:
        if found := which(name):
            return found
    wanted = "gdb-multiarch" if foreign else "gdb"
    raise HostError(f"{wanted} not found: {packages.advice([wanted])}")


def describe(guest: Guest, modules: Sequence[Path], vmlinux: Path | None) -> Description:
    """Collect what gdb has to know about a guest, which may have crashed.

    Args:
        guest: the guest.
        modules: the files of modules, which need not be loaded.
        vmlinux: the file with the kernel's symbols; None: the one that belongs to the guest's
            kernel, if there is one.

    Raises:
        UsageError: a module has no debug information, or ``vmlinux`` is not of this kernel.
    """
    registers = _REGISTERS[guest.facts.architecture]
    functions = _functions(guest)
    kernel = _kernel(guest, vmlinux, functions.get(_TEXT, 0))
    return Description(
        loading=functions.get(_LOADING, 0),
        first_argument=registers.first_argument,
        pointer=registers.pointer,
        mask=(1 << registers.pointer * 8) - 1,
        kernel=kernel,
        functions={} if kernel else functions,
        begins=sorted(functions.values()) if registers.has_frames and not kernel else [],
        modules={module_name(ko): _module(guest, ko) for ko in modules},
        sources={seen: str(here) for seen, here in guest.sources.items()},
    )


def _module(guest: Guest, ko: Path) -> dict[str, Any]:
    """Describe a module; the kernel has freed the sections of init of one that is loaded."""
    layout = module_layout.read(ko.read_bytes())
    sections = guest.sections(module_name(ko))
    return {
        "file": str(ko.resolve()),
        "layout": asdict(layout),
        "sections": {
            name: address
            for name, address in sections.items()
            if name in layout.sections and not name.startswith(".init")
        },
    }


def _functions(guest: Guest) -> dict[str, int]:
    """The kernel's functions and their addresses; none if the guest does not answer."""
    with suppress(GuestError):
        return symbol_file.functions(guest.get("/proc/kallsyms").decode())
    return {}


def _kernel(guest: Guest, vmlinux: Path | None, text: int) -> dict[str, object]:
    """Describe the file with the kernel's symbols.

    Args:
        guest: the guest.
        vmlinux: the file that the user has named, if any.
        text: the address of the kernel's code; 0 if it is not known.
    """
    own = guest.qemu.saved_state.kernel.symbols
    found = vmlinux or own or Path(_INSTALLED.format(guest.facts.release))
    if not found.is_file():
        if vmlinux:
            raise UsageError(f"there is no file {vmlinux}")
        return {}
    if text:
        offset = text - _address_in(found, guest.facts.release)
    else:
        said = _OFFSET.search(guest.backend.console_text())
        offset = int(said[1], 16) if said else 0
    commands = found.with_name("vmlinux-gdb.py")
    return {
        "file": str(found.resolve()),
        "offset": offset,
        "commands": str(commands.resolve()) if commands.is_file() else "",
    }


def _address_in(vmlinux: Path, release: str) -> int:
    """The address of the kernel's code in a file.

    Raises:
        UsageError: the file is not the kernel of this release.
    """
    with vmlinux.open("rb") as file:
        if file.read(4) != b"\x7fELF":
            raise UsageError(
                f"{vmlinux} is no ELF file: name the vmlinux, not the image that boots"
            )
        elf: Any = ELFFile(file)
        table = elf.get_section_by_name(".symtab")
        symbols = table.get_symbol_by_name(_TEXT) if table else None
        if not symbols:
            raise UsageError(f"{vmlinux} has no symbols of a kernel")
        rodata = elf.get_section_by_name(".rodata")
        if rodata is None or f"Linux version {release} ".encode() not in rodata.data():
            raise UsageError(f"{vmlinux} is not the kernel {release}, which the guest runs")
        return int(symbols[0]["st_value"])


def run(guest: Guest, description: Description, arguments: Sequence[str] = ()) -> int:
    """Run gdb in the terminal, on a guest that stops for it. Afterwards the guest runs on.

    Args:
        guest: the guest.
        description: what describe() has returned.
        arguments: further arguments of gdb, such as ``-ex``, ``break ring_write``.

    Returns:
        gdb's exit status.

    Raises:
        HostError: there is no gdb for the guest's architecture.
        UsageError: another gdb debugs the guest.
    """
    gdb = program(guest.facts.architecture)
    with (
        tempfile.TemporaryDirectory(prefix="pyharness-") as name,
        guest.qemu.machine.gdb_server() as (socket, descriptor),
    ):
        file, kernel = Path(name) / "guest.json", description.kernel
        if description.functions:
            known = Path(name) / "kernel-functions"
            known.write_bytes(symbol_file.write(guest.facts.architecture, description.functions))
            kernel = {"file": str(known), "offset": 0, "commands": ""}
        complete = asdict(description) | {"socket": socket, "kernel": kernel, "functions": {}}
        file.write_text(json.dumps(complete), encoding="utf-8")
        line = [gdb, "-q", "-x", str(_SCRIPT), *arguments]
        with signals.ctrl_c_is_for_the_child():
            process = subprocess.Popen(
                line, env=environment(**{VARIABLE: str(file)}), pass_fds=[descriptor]
            )
            with signals.ended(process, gently=True):
                return process.wait()
