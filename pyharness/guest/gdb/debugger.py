# SPDX-License-Identifier: GPL-2.0
"""Runs gdb on a guest's kernel, with the symbols of modules at their addresses.

QEMU speaks gdb's protocol. Modules that are loaded have their symbols at once, and those that are
loaded later before their init function runs, so that a breakpoint in it works.
"""

import json
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pyharness.errors import HarnessError, HostError, UsageError
from pyharness.guest.build import module_name
from pyharness.guest.gdb import kernel_symbols
from pyharness.guest.guest import Guest
from pyharness.guest.qemu_backend import QemuBackend
from pyharness.host import packages, signals
from pyharness.host.programs import completed, environment, exit_status, which
from pyharness.linux import module_layout, symbol_file

# in_gdb.py has its name, too.
VARIABLE = "PYHARNESS_GDB"
_SCRIPT = Path(__file__).with_name("in_gdb.py")
# The function that runs a module's init function.
_LOADING = "do_init_module"
_NOTE = ".note.gnu.build-id"


@dataclass(frozen=True)
class _Architecture:
    """How gdb sees an architecture.

    Attributes:
        name: gdb's name of it.
        first_argument: the register with a function's first argument, as gdb names it.
        pointer: the register's size, in bytes.
        has_frames: whether the kernel's functions keep frame pointers that gdb does not find.
    """

    name: str
    first_argument: str
    pointer: int
    has_frames: bool = False


_ARCHITECTURES = {
    "i386": _Architecture("i386", "$eax", 4, has_frames=True),  # built with -mregparm=3
    "amd64": _Architecture("i386:x86-64", "$rdi", 8),
    "arm64": _Architecture("aarch64", "$x0", 8),
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
        kernel: the ``file`` with the kernel's symbols, the ``offset`` of its addresses, and the
            file with its ``commands``, which may be empty; empty if there is no such file.
        functions: the address of each of the kernel's functions, by name, if there is no such file.
        begins: the sorted addresses of these functions if they keep frame pointers.
        modules: for each module its ``file``, the ``layout`` of its sections
            (module_layout.ModuleLayout), the addresses of its ``sections`` if it is loaded, and the
            content of the section that identifies its build (``note``), in hexadecimal.
        sources: for each folder of sources as a compiler saw it, the folder on this host.
        messages: what gdb will not know, and why: sentences for people.
    """

    socket: str = ""
    loading: int = 0
    first_argument: str
    pointer: int
    kernel: Mapping[str, object] = field(default_factory=dict)
    functions: Sequence[tuple[str, int]] = ()
    begins: Sequence[int] = ()
    modules: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    sources: Mapping[str, str] = field(default_factory=dict)
    messages: Sequence[str] = ()


def program(architecture: str) -> str:
    """Return the gdb of this host that debugs guests of an architecture.

    Raises:
        HostError: this host has none.
    """
    name = _ARCHITECTURES[architecture].name
    for found in filter(None, map(which, ("gdb", "gdb-multiarch"))):
        said = completed(found, "-nx", "-batch", "-ex", f"set architecture {name}")
        if not said.returncode and "ndefined item" not in said.stderr:
            return found
    wanted = "gdb" if not which("gdb") else "gdb-multiarch"
    raise HostError(
        f"no gdb for guests of {architecture} is installed: {packages.advice([wanted])}"
    )


def describe(
    backend: QemuBackend,
    guest: Guest | None,
    modules: Sequence[Path],
    vmlinux: Path | None = None,
) -> Description:
    """Collect what gdb has to know about a guest.

    Args:
        backend: what runs it.
        guest: the guest; None if it does not answer. One that has crashed need not, either.
        modules: the files of modules, which need not be loaded.
        vmlinux: the file with the kernel's symbols; None: the one that belongs to the guest's
            kernel, if there is one.

    Raises:
        UsageError: ``vmlinux`` is not of this kernel.
    """
    architecture = _ARCHITECTURES[backend.facts.architecture]
    functions = kernel_symbols.functions(backend, guest)
    known = dict(functions)
    kernel = kernel_symbols.find(backend, guest, vmlinux, known)
    messages = []
    if not functions and not kernel:
        messages.append("the guest does not answer: gdb knows nothing about its kernel")
    elif not kernel:
        messages.append(
            "gdb knows the kernel's functions, but not its lines and variables, which"
            f" linux-image-{backend.facts.release}-dbg or --vmlinux FILE adds"
        )
    described = {}
    for ko in modules:
        try:
            described[module_name(ko)] = _module(guest, ko)
        except (OSError, HarnessError) as error:
            messages.append(f"gdb does not know {module_name(ko)}: {error}")
    return Description(
        loading=known.get(_LOADING, 0),
        first_argument=architecture.first_argument,
        pointer=architecture.pointer,
        kernel=kernel,
        functions=[] if kernel else functions,
        begins=sorted(at for _, at in functions) if architecture.has_frames and not kernel else [],
        modules=described,
        sources={seen: str(here) for seen, here in guest.sources.items()} if guest else {},
        messages=messages,
    )


def _module(guest: Guest | None, ko: Path) -> dict[str, Any]:
    """Describe a module; the kernel has freed the sections of init of one that is loaded.

    Raises:
        UsageError: it has no debug information, or another build of it is loaded.
    """
    data, name = ko.read_bytes(), module_name(ko)
    layout = module_layout.read(data)
    note = module_layout.section(data, _NOTE)
    sections = guest.sections(name) if guest else {}
    if guest and sections and note and _loaded_note(guest, name) not in (note, None):
        raise UsageError(
            f"another build of it is loaded than that of {ko.parent}: unload it, and load it again"
        )
    return {
        "file": str(ko.resolve()),
        "layout": asdict(layout),
        "note": note.hex(),
        "sections": {
            section: address
            for section, address in sections.items()
            if section in layout.sections and not section.startswith(".init")
        },
    }


def _loaded_note(guest: Guest, name: str) -> bytes | None:
    """What identifies the build of a module that is loaded; None if that can't be read.

    A guest that has crashed can't be asked, but its modules are those that it was seen to load.
    """
    try:
        return guest.get(f"/sys/module/{name}/notes/{_NOTE}")
    except HarnessError:
        return None


def run(backend: QemuBackend, description: Description, arguments: Sequence[str] = ()) -> int:
    """Run gdb in the terminal, on a guest that stops for it. Afterwards the guest runs on.

    Args:
        backend: what runs the guest.
        description: what describe() has returned.
        arguments: further arguments of gdb, such as ``-ex``, ``break ring_write``.

    Returns:
        gdb's exit status; 128 plus the signal's number if a signal ended it.

    Raises:
        HostError: there is no gdb for the guest's architecture.
        UsageError: another gdb debugs the guest.
    """
    gdb = program(backend.facts.architecture)
    with (
        tempfile.TemporaryDirectory(prefix="pyharness-") as name,
        backend.machine.gdb_server() as (socket, descriptors),
    ):
        kernel = description.kernel
        if description.functions:
            known = Path(name) / "kernel-functions"
            known.write_bytes(symbol_file.write(backend.facts.architecture, description.functions))
            kernel = {"file": str(known), "offset": 0, "commands": ""}
        modules = {}
        for module, known_of in description.modules.items():
            copy = Path(name) / Path(known_of["file"]).name
            copy.write_bytes(module_layout.without_addresses(Path(known_of["file"]).read_bytes()))
            modules[module] = {**known_of, "file": str(copy)}
        facts = asdict(description) | {
            "socket": socket,
            "kernel": kernel,
            "functions": [],
            "modules": modules,
        }
        file = Path(name) / "guest.json"
        file.write_text(json.dumps(facts), encoding="utf-8")
        with signals.ctrl_c_is_for_the_child():
            process = subprocess.Popen(
                [gdb, "-q", "-x", str(_SCRIPT), *arguments],
                env=environment(**{VARIABLE: str(file)}),
                pass_fds=descriptors,
            )
            with signals.ended(process, gently=True):
                return exit_status(process.wait())
