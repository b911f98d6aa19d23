# SPDX-License-Identifier: GPL-2.0
"""The kernel's code and constants, function by function: what is changed, and given back."""

from pathlib import Path

import pytest

from pyharness import Guest, interceptor
from pyharness.interceptor import Interceptor
from pyharness.linux.syscalls import SyscallName

PROGRAM = Path(__file__).parents[1] / "programs" / "kernel_text.py"
PREFIXES = ("__ia32_", "__x64_", "__arm64_")
OWN = ("exit_group", "restart_syscall")  # are hooked as long as the module is loaded

# What is changed as long as the module is loaded, by the one method or the other: two entries of
# each table, or the handlers of exit_group and of the custom call; and the three tracepoints, each
# where it's called.
LOADED = {
    *(f"{prefix}sys_exit_group" for prefix in PREFIXES),
    *(f"{prefix}sys_restart_syscall" for prefix in PREFIXES),
    "__do_sys_restart_syscall",
    "bprm_execve",
    "do_exit",
    "delayed_put_task_struct",
    "__SCT__tp_func_sched_process_exec",
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
    """The functions, the constants, and the entries of tables that differ."""
    assert before.keys() == after.keys()
    return {name.split("@")[0] for name in before if before[name] != after[name]}


def entries(guest: Guest, *calls: SyscallName) -> set[str]:
    """The entries of the kernel's tables that serve those calls."""
    native = {f"sys_call_table[{guest.syscalls.ref(call).number}]" for call in calls}
    if guest.facts.architecture != "amd64":
        return native
    there = (guest.syscalls.ref(f"i386:{call}").number for call in calls)
    return native | {f"ia32_sys_call_table[{number}]" for number in there}


def test_only_what_is_intercepted_is_changed(
    bare_guest: Guest, parameters: dict[str, str], by_table: bool
) -> None:
    guest = bare_guest
    before = checksums(guest)
    assert len(before) > 30_000
    module = interceptor.load(guest, **parameters)
    own = entries(guest, *OWN) if by_table else set()
    try:
        assert changed(before, checksums(guest)) - LOADED == own
        with module.intercepted("mkdirat"):
            hooked = changed(before, checksums(guest)) - LOADED - own
            if by_table:
                assert hooked == entries(guest, "mkdirat")
            else:
                assert hooked
                assert {name for name in hooked if not name.endswith("sys_mkdirat")} == set()
        assert changed(before, checksums(guest)) - LOADED == own
    finally:
        module.unload()
    assert changed(before, checksums(guest)) == set()


@pytest.mark.test_limit(300)
def test_all_is_given_back(
    bare_guest: Guest, number_of_syscalls: int, parameters: dict[str, str], by_table: bool
) -> None:
    """After every number was intercepted, and given back one by one."""
    guest = bare_guest
    before = checksums(guest)
    module: Interceptor = interceptor.load(guest, **parameters)
    own = entries(guest, *OWN) if by_table else set()
    try:
        numbers = {*range(number_of_syscalls)} - {module.interface.custom_syscall}
        for number in numbers:
            assert module.intercept(number).value == 0
        assert len(changed(before, checksums(guest)) - LOADED) > 250
        for number in numbers:
            assert module.release(number).value == 0
        assert changed(before, checksums(guest)) - LOADED == own
    finally:
        module.unload()
    assert changed(before, checksums(guest)) == set()
