# SPDX-License-Identifier: GPL-2.0
"""Programs of this host that may last."""

import time

import psutil
import pytest

from pyharness import GuestTimeout
from pyharness.host.bounded import run_until

MARK = "86399.25"  # seconds that nothing else sleeps


def sleepers() -> list[int]:
    return [
        process.pid
        for process in psutil.process_iter(["cmdline"])
        if process.info["cmdline"] and process.info["cmdline"][-1] == MARK
    ]


def test_what_a_program_printed_and_its_exit_status() -> None:
    ran = run_until(["sh", "-c", "echo out; echo err >&2; exit 3"], seconds=60)
    assert (ran.status, ran.output) == (3, "out\nerr\n")


def test_a_program_that_lasts_is_killed_with_its_children() -> None:
    with pytest.raises(GuestTimeout, match="timed out after"):
        run_until(["sh", "-c", f"sleep {MARK} & sleep {MARK}; true"], seconds=0.3)
    end = time.monotonic() + 30  # a process that was killed may not have ended yet
    while sleepers() and time.monotonic() < end:
        time.sleep(0.05)
    assert sleepers() == []
