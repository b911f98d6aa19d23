# SPDX-License-Identifier: GPL-2.0
"""The kernel's code and constants, function by function: what is changed, and given back."""

from pathlib import Path

import pytest

from pyharness import Guest, interceptor
from pyharness.interceptor import Interceptor

PROGRAM = Path(__file__).parents[1] / "programs" / "kernel_text.py"
PREFIXES = ("__ia32_", "__x64_", "__arm64_")

# What is changed as long as the module is loaded: two entries of each table, or
# the handlers of exit_group and of the custom call; and the three tracepoints,
# each where it's called.
LOADED = {
    "the table",
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
    """The functions that differ; of constants, it's the table that does."""
    assert before.keys() == after.keys()
    names = {name.split("@")[0] for name in before if before[name] != after[name]}
    return {"the table" if name.startswith("constants+") else name for name in names}


def test_only_what_is_intercepted_is_changed(
    bare_guest: Guest, parameters: dict[str, str], by_table: bool
) -> None:
    guest = bare_guest
    before = checksums(guest)
    assert len(before) > 30_000
    module = interceptor.load(guest, **parameters)
    try:
        assert changed(before, checksums(guest)) <= LOADED
        with module.intercepted("mkdirat"):
            hooked = changed(before, checksums(guest)) - LOADED
            assert {name for name in hooked if not name.endswith("sys_mkdirat")} == set()
            assert bool(hooked) != by_table
        assert changed(before, checksums(guest)) <= LOADED
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
    try:
        numbers = {*range(number_of_syscalls)} - {module.interface.custom_syscall}
        for number in numbers:
            assert module.intercept(number).value == 0
        assert (len(changed(before, checksums(guest)) - LOADED) > 250) != by_table
        for number in numbers:
            assert module.release(number).value == 0
        assert changed(before, checksums(guest)) <= LOADED
    finally:
        module.unload()
    assert changed(before, checksums(guest)) == set()
