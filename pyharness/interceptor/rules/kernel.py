# SPDX-License-Identifier: GPL-2.0
"""What the rules need to know of a guest's kernel: its system calls, and what a module changes.

The table of system calls is read from outside, by QEMU, so that no module can fake its content.
"""

import re
import struct
from dataclasses import dataclass

from pyharness.errors import CheckFailed, GuestError
from pyharness.guest.guest import Guest

_TRACING = "/sys/kernel/tracing"
# The kernel's functions that somebody hooks, by ftrace or a kprobe.
_FTRACED = f"{_TRACING}/enabled_functions"
_PROBED = "/sys/kernel/debug/kprobes/list"
_ARCHITECTURES = {"arm64": "arm64"}  # as the kernel's source calls them; all others are x86
_TABLE = "sys_call_table"
# Where the table has no symbol (32-bit x86), the code of one of these has its address.
_DISPATCHERS = ("do_int80_syscall_32", "do_fast_syscall_32")
_CODE_BYTES = 256
# The instructions that read an entry: mov table(,%eax,4),%eax and call *table(,%eax,4).
_READS_ENTRY = re.compile(rb"(?:\x8b.|\xff\x14)[\x85\x95\x8d\x9d\xb5\xbd](....)", re.DOTALL)
_WRITABLE = re.compile(r"^([0-9a-f]{16})-([0-9a-f]{16}) \S+ .r(.)$", re.MULTILINE)
_PROTECTS = re.compile(r"\bCR0=([0-9a-f]+)")
_CR0_WP = 1 << 16


def number_of_syscalls(guest: Guest) -> int:
    """Return NR_syscalls of the guest's kernel, by its headers."""
    arch = _ARCHITECTURES.get(guest.facts.architecture, "x86")
    includes = " ".join(
        f"-I{tree}/{folder}{kind}"
        for kind in ("", "/generated", "/uapi", "/generated/uapi")
        for tree in ("build", "source")
        for folder in (f"arch/{arch}/include", "include")
    )
    found = guest.run(
        f"cd /lib/modules/$(uname -r) && expr $(echo NR_syscalls | gcc -E -P -nostdinc -D__KERNEL__"
        f" {includes} -include linux/kconfig.h -include asm/unistd.h - | tail -1 | tr '()' '  ')"
    )
    return int(found.check().stdout)


@dataclass(frozen=True)
class Footprint:
    """What a loaded module changes of the kernel.

    Attributes:
        table: the table of system calls; empty if its address is unknown.
        hooked: the functions that are hooked by ftrace or kprobes, one line each.
    """

    table: bytes
    hooked: str


@dataclass(frozen=True)
class SyscallTable:
    """The table of system calls in a guest's memory.

    Attributes:
        address: its address; 0 if it could not be found.
        count: the number of its entries.
        entry_bytes: the size of an entry.
    """

    address: int
    count: int
    entry_bytes: int

    def read(self, guest: Guest) -> bytes:
        """Return the table's content; nothing if its address is unknown."""
        if not self.address:
            return b""
        return guest.backend.memory(self.address, self.count * self.entry_bytes)

    def changed(self, before: bytes, now: bytes) -> list[int]:
        """Return the numbers of the entries that differ in two contents of the table."""
        size = self.entry_bytes
        return [
            number
            for number in range(self.count)
            if before[number * size :][:size] != now[number * size :][:size]
        ]


def find_table(guest: Guest, count: int) -> SyscallTable:
    """Find the table of system calls.

    Args:
        guest: the guest.
        count: the number of its entries.
    """
    size = guest.syscalls.bytes_of_long
    wanted = "|".join((_TABLE, *_DISPATCHERS, "__ia32_sys_close"))
    said = guest.run(f"grep -E ' ({wanted})$' /proc/kallsyms").stdout
    symbols = {line.split()[2]: int(line.split()[0], 16) for line in said.splitlines()}
    if address := symbols.get(_TABLE):
        return SyscallTable(address, count, size)
    close = guest.syscalls.number("close") * size
    for dispatcher in _DISPATCHERS:
        if guest.facts.architecture != "i386" or dispatcher not in symbols:
            continue
        code = guest.backend.memory(symbols[dispatcher], _CODE_BYTES)
        for found in _READS_ENTRY.finditer(code):
            (address,) = struct.unpack("<I", found[1])
            try:
                entry = guest.backend.memory(address + close, size)
            except GuestError:  # it is no address
                continue
            if struct.unpack("<I", entry)[0] == symbols.get("__ia32_sys_close"):
                return SyscallTable(address, count, size)
    return SyscallTable(0, count, size)


def mount_tracefs(guest: Guest) -> None:
    """Have the guest say what ftrace hooks; older ones do not mount tracefs when they boot."""
    guest.run(f"[ -e {_FTRACED} ] || mount -t tracefs none {_TRACING}").check()


def hooked(guest: Guest) -> str:
    """Return the kernel's functions that are hooked by ftrace or kprobes, one line each.

    Args:
        guest: a guest with tracefs; see mount_tracefs().
    """
    # No program is run: this is asked after each rule, and a program takes ten times as long.
    probes = guest.agent.read(_PROBED).splitlines()
    names = [line.split(maxsplit=2)[-1] for line in probes]  # without address and kind
    return "\n".join([*guest.agent.read(_FTRACED).splitlines(), *names])


def footprint(guest: Guest, table: SyscallTable) -> Footprint:
    """Return what is hooked in the guest's kernel now."""
    return Footprint(table.read(guest), hooked(guest))


def write_protection(guest: Guest, table: SyscallTable) -> str:
    """Return what is writable that should not be; empty if nothing is.

    Args:
        guest: a guest of x86, run by QEMU.
        table: its table of system calls.

    Raises:
        CheckFailed: QEMU does not say.
    """
    machine = guest.qemu.machine
    registers = _PROTECTS.findall(machine.monitor("info registers -a"))
    mapped = "\n".join(machine.monitor("info mem").splitlines())  # its lines end with CR and LF
    ranges = _WRITABLE.findall(mapped)
    if not registers or not ranges:
        raise CheckFailed("QEMU does not say what is writable")
    for cpu, value in enumerate(registers):
        if not int(value, 16) & _CR0_WP:
            return f"CPU {cpu} ignores write protection: bit WP of its register CR0 is not set"
    end = table.address + table.count * table.entry_bytes
    for first, last, mode in ranges:
        if mode == "w" and int(first, 16) < end and table.address < int(last, 16):
            return f"the table of system calls, at {table.address:#x}, is writable"
    return ""
