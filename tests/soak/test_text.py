# SPDX-License-Identifier: GPL-2.0
"""The kernel's code and constants, function by function: what is changed, and given back."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pyharness import Guest, interceptor
from pyharness.interceptor import Interceptor

PROGRAM = Path(__file__).parents[1] / "programs" / "kernel_text.py"
PREFIXES = ("__ia32_", "__x64_", "__arm64_")
OWN = ("exit_group", "restart_syscall")  # are hooked as long as the module is loaded
CALL = "mkdirat"
KEPT = "/root/kernel-text"

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


Changed = tuple[set[str], set[str]]


def program(guest: Guest, *words: str) -> list[str]:
    """The lines that the program prints."""
    line = ["python3", "-", *words]
    return guest.run(line, stdin=PROGRAM.read_bytes(), seconds=60).check().stdout.splitlines()


@pytest.fixture
def changed(bare_guest: Guest) -> Iterator[Callable[..., Changed]]:
    """Return which functions differ from what they were at first, and which constants do."""
    (count,) = program(bare_guest, "save", KEPT)
    assert int(count) > 30_000

    def give(left_out: set[str] = LOADED) -> Changed:
        names = {*program(bare_guest, "compare", KEPT)}
        constants = {name for name in names if name.startswith("constants+")}
        return names - constants - left_out, constants

    yield give
    if not bare_guest.closed:
        bare_guest.run(["rm", KEPT]).check()


def test_only_what_is_intercepted_is_changed(
    bare_guest: Guest,
    changed: Callable[..., Changed],
    parameters: dict[str, str],
    by_table: bool,
) -> None:
    guest = bare_guest
    pointers: dict[tuple[str, ...], set[str]] = {
        calls: {*program(guest, "pointers", *calls)} for calls in (OWN, (*OWN, CALL))
    }
    # Each call has an entry of a table for each ABI.
    abis = 2 if guest.facts.architecture == "amd64" else 1

    def check(*calls: str) -> set[str]:
        """Check the constants, and return the functions that have changed."""
        functions, constants = changed()
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
    assert changed(left_out=set()) == (set(), set())


@pytest.mark.test_limit(300)
def test_all_is_given_back(
    bare_guest: Guest,
    changed: Callable[..., Changed],
    number_of_syscalls: int,
    parameters: dict[str, str],
    by_table: bool,
) -> None:
    """After every number was intercepted, and given back one by one."""
    module: Interceptor = interceptor.load(bare_guest, **parameters)
    own = changed()
    try:
        numbers = {*range(number_of_syscalls)} - {module.interface.custom_syscall}
        for number in numbers:
            assert module.intercept(number).value == 0
        functions, constants = changed()
        assert len(constants) > 25 if by_table else len(functions) > 250
        for number in numbers:
            assert module.release(number).value == 0
        assert changed() == own
    finally:
        module.unload()
    assert changed(left_out=set()) == (set(), set())
