# SPDX-License-Identifier: GPL-2.0
"""What test_memory_debug.py runs: tests whose module misuses the kernel."""

from pathlib import Path

import pytest

from pyharness import Guest

MODULE = Path(__file__).parents[1] / "modules" / "misuse"


@pytest.mark.parametrize(
    "misuse",
    ["nothing", "write-after-free", "read-after-free", "write-behind", "free-twice",
     "sleep-in-atomic", "lock-order", "rcu-unlocked", "shift-too-far", "race",
     pytest.param("leak", marks=pytest.mark.leaks_nothing)],
)  # fmt: skip
def test_misuse(guest: Guest, misuse: str) -> None:
    module = guest.load(MODULE)
    guest.run(f"echo {misuse} > /sys/module/misuse/parameters/now").check()
    module.unload()
