# SPDX-License-Identifier: GPL-2.0
"""What gdb itself runs: it connects to the guest, and keeps the symbols of modules up to date.

A file in JSON, which the environment names, describes the guest: see debugger.Description.
"""

import json
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import gdb
from gdb.unwinder import Unwinder, register_unwinder

# As debugger.VARIABLE: gdb's Python need not have this package.
with open(os.environ["PYHARNESS_GDB"], encoding="utf-8") as _file:  # noqa: PTH123
    _GUEST: dict[str, Any] = json.load(_file)
_MASK = (1 << _GUEST["pointer"] * 8) - 1
_KILL = """define hook-kill
python raise gdb.GdbError("kill would end the guest: quit lets it run on")
end"""
# The section of a module's file that identifies its build.
_NOTE = ".note.gnu.build-id"
# struct module's name has at most this many bytes (MODULE_NAME_LEN).
_LONGEST_NAME = 64


def _quoted(path: str) -> str:
    """Quote a path for a command of gdb's."""
    return '"' + path.replace("\\", "\\\\").replace('"', '\\"') + '"'


class _Modules:
    """The modules whose symbols gdb has."""

    def __init__(self) -> None:
        self._loaded: dict[str, str] = {}

    def add(self, name: str, sections: dict[str, int]) -> None:
        """Read a module's symbols.

        Args:
            name: the module's name.
            sections: the address of each section.
        """
        if name in self._loaded:  # it was unloaded since, or its address would be the same
            gdb.execute(f"remove-symbol-file -a {self._loaded.pop(name)}", to_string=True)
        at = " ".join(f"-s {section} {address:#x}" for section, address in sections.items())
        file = _quoted(_GUEST["modules"][name]["file"])
        gdb.execute(f"add-symbol-file {file} {at}", to_string=True)
        if ".text" in sections:
            self._loaded[name] = hex(sections[".text"])


_modules = _Modules()


class _Loading(gdb.Breakpoint):
    """The kernel is about to run a module's init function: its sections are in place."""

    def stop(self) -> bool:
        """Read the symbols of the module; the guest does not stop for it."""
        module = int(gdb.parse_and_eval(_GUEST["first_argument"])) & _MASK
        for name, known in _GUEST["modules"].items():
            layout = known["layout"]
            found = _memory(module + layout["name"], _LONGEST_NAME)
            if found.split(b"\0")[0].decode(errors="replace") != name:
                continue
            try:
                table = _pointer(_pointer(module + layout["tables"]) + layout["table"])
                sections = {
                    section: _pointer(table + offset) - value
                    for section, (offset, value) in layout["sections"].items()
                }
                note = bytes.fromhex(known["note"])
                same = not note or _memory(sections[_NOTE], len(note)) == note
            except gdb.MemoryError:
                same = False
            if same:
                _modules.add(name, sections)
            else:
                print(f"{name} was built again: quit, and start gdb again, for its symbols")
        return False


def _memory(address: int, size: int) -> bytes:
    return bytes(gdb.selected_inferior().read_memory(address, size))


def _pointer(address: int) -> int:
    return int.from_bytes(_memory(address, _GUEST["pointer"]), "little")


class _FrameId:
    """What identifies a frame, for gdb: its stack address and its instruction."""

    def __init__(self, sp: gdb.Value, pc: gdb.Value) -> None:
        self.sp = sp
        self.pc = pc


class _FramePointers(Unwinder):
    """Follows the frame pointers of a kernel for i386 that comes without debug information.

    gdb itself takes the call of ftrace's at the beginning of each function for the function's own.
    """

    _PUSHED = 4  # the size of a register on the stack
    _FTRACE = 5  # the size of the call

    def __init__(self) -> None:
        super().__init__("frame pointers")
        begins = _GUEST["begins"]
        self._text = range(begins[0], begins[-1])
        self._early = {*begins, *(begin + self._FTRACE for begin in begins)}

    def __call__(self, pending_frame: gdb.PendingFrame) -> "gdb.UnwindInfo | None":
        """Return the registers of the caller; None where the kernel's own code does not run."""
        registers = {name: pending_frame.read_register(name) for name in ("eip", "esp", "ebp")}
        at, frame = (int(registers[name]) & _MASK for name in ("eip", "ebp"))
        early = at in self._early  # the frame pointer is still the caller's
        if at not in self._text or not (early or frame):
            return None
        size = self._PUSHED
        stack = registers["esp"].cast(gdb.lookup_type("unsigned int"))
        base = stack if early else registers["ebp"].cast(stack.type) + size
        unwound = pending_frame.create_unwind_info(_FrameId(base + size, registers["eip"]))

        def on_stack(address: gdb.Value, like: gdb.Value) -> gdb.Value:
            return address.cast(like.type.pointer()).dereference()

        unwound.add_saved_register("eip", on_stack(base, registers["eip"]))
        unwound.add_saved_register("esp", (base + size).cast(registers["esp"].type))
        caller = registers["ebp"] if early else on_stack(base - size, registers["ebp"])
        unwound.add_saved_register("ebp", caller)
        return unwound


def _leave(_event: object) -> None:
    """Leave the guest as it is: pyharness lets it run on if it ran before."""
    if gdb.selected_inferior().pid:
        with suppress(gdb.error):  # the guest runs
            gdb.execute("disconnect", to_string=True)


def _main() -> None:
    pages = gdb.parameter("pagination")
    for setting in (
        "confirm off",
        "pagination off",
        "breakpoint pending on",
        "auto-load python-scripts off",
    ):
        gdb.execute(f"set {setting}")
    gdb.execute(_KILL)
    if hasattr(gdb.events, "gdb_exiting"):  # gdb 12
        gdb.events.gdb_exiting.connect(_leave)
    if kernel := _GUEST["kernel"]:
        gdb.execute(f"symbol-file {_quoted(kernel['file'])} -o {kernel['offset']:#x}")
        if _GUEST["begins"]:
            register_unwinder(None, _FramePointers(), replace=True)
        if kernel["commands"]:
            # The file looks for its modules beside __file__, which is this file while it runs.
            sys.path.insert(0, str(Path(kernel["commands"]).parent / "scripts" / "gdb"))
            gdb.execute(f"source {kernel['commands']}")
    for seen, here in _GUEST["sources"].items():
        gdb.execute(f"set substitute-path {_quoted(seen)} {_quoted(here)}")
    gdb.execute(f"target remote {_GUEST['socket']}", to_string=True)
    for name, known in _GUEST["modules"].items():
        if known["sections"]:
            _modules.add(name, known["sections"])
    if _GUEST["loading"]:
        # Hardware breakpoints work under KVM, too, wherever the kernel may patch its code.
        _Loading(f"*{_GUEST['loading']:#x}", type=gdb.BP_HARDWARE_BREAKPOINT, internal=True)
    gdb.execute(f"set pagination {'on' if pages else 'off'}")


try:
    _main()
except (gdb.error, RuntimeError) as _error:
    print(f"gdb can't debug the guest: {_error}")
    gdb.execute("quit 1")
