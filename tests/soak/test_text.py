# SPDX-License-Identifier: GPL-2.0
"""The kernel's code and constants, function by function: what is changed, and given back."""

from pathlib import Path

import pytest

from pyharness import Guest, interceptor
from pyharness.interceptor import Interceptor

PROGRAM = Path(__file__).parents[1] / "programs" / "kernel_text.py"
PREFIXES = ("__ia32_", "__x64_", "__arm64_")
OWN = ("exit_group", "restart_syscall")  # are hooked as long as the module is loaded
CALL = "mkdirat"

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


def program(guest: Guest, *calls: str) -> list[str]:
    """The lines that the program prints."""
    line = ["python3", "-", *calls]
    return guest.run(line, stdin=PROGRAM.read_bytes(), seconds=60).check().stdout.splitlines()


def checksums(guest: Guest) -> dict[str, str]:
    """A checksum of each function, by its name and address, and of each piece of constants."""
    return dict(line.rsplit(" ", 1) for line in program(guest))


def changed(
    before: dict[str, str], after: dict[str, str], left_out: set[str] = LOADED
) -> tuple[set[str], set[str]]:
    """The functions that differ, except those of LOADED, and the constants that do."""
    assert before.keys() == after.keys()
    names = {name.split("@")[0] for name in before if before[name] != after[name]}
    constants = {name for name in names if name.startswith("constants+")}
    return names - constants - left_out, constants


def test_only_what_is_intercepted_is_changed(
    bare_guest: Guest, parameters: dict[str, str], by_table: bool
) -> None:
    guest = bare_guest
    before = checksums(guest)
    assert len(before) > 30_000
    pointers: dict[tuple[str, ...], set[str]] = {
        calls: {*program(guest, *calls)} for calls in (OWN, (*OWN, CALL))
    }
    # Each call has an entry of a table for each ABI.
    abis = 2 if guest.facts.architecture == "amd64" else 1

    def check(*calls: str) -> set[str]:
        """Check the constants, and return the functions that have changed."""
        functions, constants = changed(before, checksums(guest))
        assert constants <= pointers[calls]
        assert len(constants) == len(calls) * abis * by_table
        return functions

    module = interceptor.load(guest, **parameters)
    try:
        assert check(*OWN) == set()
        with module.intercepted(CALL):
            hooked = check(*OWN, CALL)
            assert {name for name in hooked if not name.endswith(f"sys_{CALL}")} == set()
            assert bool(hooked) != by_table
        assert check(*OWN) == set()
    finally:
        module.unload()
    assert changed(before, checksums(guest), left_out=set()) == (set(), set())


@pytest.mark.test_limit(300)
def test_all_is_given_back(
    bare_guest: Guest, number_of_syscalls: int, parameters: dict[str, str], by_table: bool
) -> None:
    """After every number was intercepted, and given back one by one."""
    guest = bare_guest
    before = checksums(guest)
    module: Interceptor = interceptor.load(guest, **parameters)
    own = changed(before, checksums(guest))
    try:
        numbers = {*range(number_of_syscalls)} - {module.interface.custom_syscall}
        for number in numbers:
            assert module.intercept(number).value == 0
        functions, constants = changed(before, checksums(guest))
        assert len(constants) > 25 if by_table else len(functions) > 250
        for number in numbers:
            assert module.release(number).value == 0
        assert changed(before, checksums(guest)) == own
    finally:
        module.unload()
    assert changed(before, checksums(guest), left_out=set()) == (set(), set())
