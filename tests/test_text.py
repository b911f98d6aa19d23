# SPDX-License-Identifier: GPL-2.0
"""The kernel's code and constants, function by function: what is changed, and given back."""

from pathlib import Path

import pytest

import pyharness
from pyharness import Guest, Module

PROGRAM = Path(__file__).parent / "programs" / "kernel_text.py"

# What is changed as long as the module is loaded: the handlers of exit_group
# and of the custom call, and the two tracepoints, each where it's called.
LOADED = {
    "__ia32_sys_exit_group",
    "__ia32_sys_restart_syscall",
    "__do_sys_restart_syscall",
    "do_exit",
    "delayed_put_task_struct",
    "__SCT__tp_func_sched_process_exit",
    "__SCT__tp_func_sched_process_free",
    # ftrace's own, which go to whoever traces
    "ftrace_call",
    "ftrace_regs_call",
}


def checksums(guest: Guest) -> dict[str, str]:
    """A checksum of each function, by its name and address, and of each piece of constants."""
    said = guest.run("python3 -", stdin=PROGRAM.read_bytes(), seconds=60).check().stdout
    return dict(line.rsplit(" ", 1) for line in said.splitlines())


def changed(before: dict[str, str], after: dict[str, str]) -> set[str]:
    """The functions that differ."""
    assert before.keys() == after.keys()
    return {name.split("@")[0] for name in before if before[name] != after[name]}


def test_only_what_is_intercepted_is_changed(bare_guest: Guest) -> None:
    guest = bare_guest
    before = checksums(guest)
    assert len(before) > 30_000
    module = guest.load(pyharness.MODULE)
    try:
        assert changed(before, checksums(guest)) <= LOADED
        with module.intercepted("mkdir"):
            assert changed(before, checksums(guest)) - LOADED == {"__ia32_sys_mkdir"}
        assert changed(before, checksums(guest)) <= LOADED
    finally:
        module.unload()
    assert changed(before, checksums(guest)) == set()


@pytest.mark.timeout(300)
def test_all_is_given_back(bare_guest: Guest, number_of_syscalls: int) -> None:
    """After every number was intercepted, and given back one by one."""
    guest = bare_guest
    before = checksums(guest)
    module: Module = guest.load(pyharness.MODULE)
    try:
        for number in range(1, number_of_syscalls):
            assert module.intercept(number).value == 0
        assert len(changed(before, checksums(guest)) - LOADED) > 350
        for number in range(1, number_of_syscalls):
            assert module.release(number).value == 0
        assert changed(before, checksums(guest)) <= LOADED
    finally:
        module.unload()
    assert changed(before, checksums(guest)) == set()
