# SPDX-License-Identifier: GPL-2.0
"""What only a kernel for debugging sees fails the test that did it, with file and line."""

import errno
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from suites import failure, run_tests

from pyharness import Actor, Guest, Result

MISUSES = Path(__file__).parents[1] / "failing" / "misuses.py"
# For each misuse, the option that finds it, what the kernel reports, and where that was.
FOUND = {
    "write-after-free": ("KASAN", "KASAN: (slab-)?use-after-free in use", "write_after_free"),
    "read-after-free": ("KASAN", "KASAN: (slab-)?use-after-free in read", "read_after_free"),
    "write-behind": ("KASAN", "KASAN: slab-out-of-bounds", "write_behind"),
    "free-twice": ("KASAN", "KASAN: (double-free|slab-use-after-free)", "free_twice"),
    "sleep-in-atomic": ("DEBUG_ATOMIC_SLEEP", "scheduling while atomic", "sleep_in_atomic"),
    "lock-order": ("PROVE_LOCKING", "possible circular locking dependency", "lock_order"),
    "rcu-unlocked": ("PROVE_RCU", "suspicious RCU usage", "rcu_unlocked"),
    "shift-too-far": ("UBSAN_SHIFT", "UBSAN: shift-out-of-bounds", "shift_too_far"),
    "leak": ("DEBUG_KMEMLEAK", "unreferenced object", "leak"),
    "race": ("KCSAN", "KCSAN: data-race", "race"),
}  # fmt: skip

pytestmark = pytest.mark.alone


@pytest.mark.test_limit(900)  # a guest starts, and a module is built
@pytest.mark.parametrize(
    "misuse",
    [pytest.param(name, marks=pytest.mark.debug_kernel(FOUND[name][0])) for name in FOUND],
)
def test_a_misuse_fails_the_test(guest: Guest, tmp_path: Path, misuse: str) -> None:
    _, said, function = FOUND[misuse]
    (text,) = map(failure, run_tests(tmp_path, f"{MISUSES}::test_misuse[{misuse}]"))
    assert re.search(said, text), text
    # The compiler may have put the part that is never to run apart. kmemleak reports only after the
    # module was unloaded, when the kernel knows only addresses.
    place = rf"{function}(\.cold)?\+.* at misuse\.c:\d+|at misuse\.c:\d+.*, {function}\("
    assert re.search(place, text), text


@pytest.mark.debug_kernel("FAILSLAB")
def test_each_request_for_memory_of_a_call_fails(
    root: Actor, fail_allocations: Callable[..., Iterator[Result]]
) -> None:
    *failed, done = fail_allocations(root, "eventfd2", 0, 0)
    # A request that the kernel can do without may fail, too: then the call succeeds.
    assert {result.errno for result in failed} - {0} == {errno.ENOMEM}
    assert not done.injected
    assert done.errno == 0


@pytest.mark.debug_kernel("FAILSLAB")
def test_no_fault_is_left_behind(
    root: Actor, fail_allocations: Callable[..., Iterator[Result]]
) -> None:
    assert next(fail_allocations(root, "mkdir", "/tmp", 0o755)).injected
    with root.open("/proc/thread-self/fail-nth", os.O_RDONLY) as left:
        assert left.read(10).strip() in (b"0", b"")
