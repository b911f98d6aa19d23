# SPDX-License-Identifier: GPL-2.0
"""A kernel for arm64 runs 32-bit programs as well, whose calls are left alone."""

import errno
import struct

import pytest

from pyharness import Actor, Guest
from pyharness.interceptor import Command, Interceptor
from pyharness.linux.syscalls import Syscalls

ARM = Syscalls("arm")
CALL = "getpgid"
PATH = "/root/arm32"

pytestmark = pytest.mark.architecture("arm64")

# The instructions of a program (ARM Architecture Reference Manual, A32).
MOVW, MOVT = 0xE3000000, 0xE3400000
NEGATE_R0 = 0xE2600000  # rsb r0, r0, #0
SYSTEM_CALL = 0xEF000000  # svc #0
CALL_REGISTER = 7
WHERE = 0x10000
HEADERS = 52 + 32


def loaded(register: int, value: int) -> list[int]:
    """The instructions that have a register hold a value, half by half."""
    halves = ((MOVW, value & 0xFFFF), (MOVT, value >> 16 & 0xFFFF))
    return [code | half >> 12 << 16 | register << 12 | half & 0xFFF for code, half in halves]


def program(call: str, *args: int) -> bytes:
    """An executable that issues one system call, and exits with the number of its error.

    The compilers of an arm64 guest make none, so it is put together here.
    """
    code = [
        *(word for register, value in enumerate(args) for word in loaded(register, value)),
        *loaded(CALL_REGISTER, ARM.number(call)),
        SYSTEM_CALL,
        NEGATE_R0,
        *loaded(CALL_REGISTER, ARM.number("exit_group")),
        SYSTEM_CALL,
    ]
    text = struct.pack(f"<{len(code)}I", *code)
    size = HEADERS + len(text)
    # e_ident; ET_EXEC, EM_ARM, version, entry, phoff, shoff, EABI 5, sizes and numbers of headers
    elf = struct.pack("<4s12s", b"\x7fELF", bytes([1, 1, 1]))
    elf += struct.pack("<HHIIIIIHHHHHH", 2, 40, 1, WHERE + HEADERS, 52, 0, 0x05000000,
                       52, 32, 1, 0, 0, 0)  # fmt: skip
    # PT_LOAD: from where in the file to where in memory, how much, readable and executable
    elf += struct.pack("<8I", 1, 0, WHERE, WHERE, size, size, 5, 0x1000)
    return elf + text


def run(guest: Guest, call: str, *args: int) -> tuple[int, int]:
    """A 32-bit program's pid, and the error with which its system call ends, 0 if none."""
    guest.put(program(call, *args), PATH)
    done = guest.run(f"chmod 755 {PATH} && {{ {PATH} & echo $!; wait $!; }}")
    return int(done.stdout), done.status


def issued(guest: Guest, call: str, *args: int) -> int:
    """The error with which a 32-bit program's system call ends, 0 if none."""
    _, error = run(guest, call, *args)
    return error


def test_its_calls_are_served_and_not_logged(
    module: Interceptor, guest: Guest, nobody: Actor
) -> None:
    """Neither as the call that serves it, nor as the one that has its number on arm64."""
    calls = (CALL, guest.syscalls.name(ARM.number(CALL)), "exit_group")
    unused = 0x7FFF1234
    with module.intercepted(*calls):
        for call in calls:
            assert module.start(call).value == 0
        mark = guest.log.mark()
        pid, error = run(guest, CALL, unused)
        assert error == errno.ESRCH
        assert nobody.syscall(CALL, unused).errno == errno.ESRCH
        found = [(call.pid, call.syscall.name) for call in module.logged(mark)]
    assert (nobody.pid, CALL) in found
    assert pid not in {one for one, _ in found}


@pytest.mark.parametrize("numbers", ["arm", "arm64"])
def test_its_restart_syscall_takes_no_commands(
    module: Interceptor, guest: Guest, numbers: str
) -> None:
    """It is the kernel's own, which has nothing to restart."""
    number = Syscalls(numbers).number(CALL)
    assert issued(guest, "restart_syscall", Command.INTERCEPT, number, 0) == errno.EINTR
    assert not module.status()
