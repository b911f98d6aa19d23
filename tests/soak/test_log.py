# SPDX-License-Identifier: GPL-2.0
"""Each monitored call is in the log, whole and once, or the reader says that it was lost."""

import re
from collections.abc import Callable

import pytest
from arch import TRACING, mount_tracing

from pyharness import Guest
from pyharness.interceptor import Call, Interceptor

CALL = "sched_rr_get_interval"
THREADS = 4
# A line of a trace: its task, CPU, and signs of the state that it was in. The head of the trace
# tells which sign is what: one more than there are strokes before its name.
TRACED = re.compile(r"^ +calls-\d+ +\[\d+\] (\S+) .* console: \[", re.MULTILINE)
PREEMPT = re.compile(r"^# +(\|*) / _-+=> preempt-depth", re.MULTILINE)


pytestmark = pytest.mark.cpus(4)


def pour(guest: Guest, program: str, calls: int) -> int:
    """Have each of the threads issue so many calls; how many the signal handler added."""
    line = [program, str(guest.syscalls.number(CALL)), str(THREADS), str(calls)]
    return int(guest.run(line, seconds=60).check().stdout)


def calls_by_thread(calls: list[Call]) -> list[tuple[int, int]]:
    """Which thread each call was by (THREADS: the signal handler), and its number there."""
    assert all(call.args[1] == 0xFFFFF000 and call.args[3:] == (0, 0, 0) for call in calls)
    return [(call.args[0], call.args[2]) for call in calls]


def test_every_call_is_in_the_log(
    module: Interceptor, guest: Guest, compiled: Callable[[str], str]
) -> None:
    """100,000 of them from four CPUs, and those of a signal handler in between."""
    program = compiled("calls")
    with module.intercepted(CALL):
        mark, lost = guest.log.mark(), guest.log.lost
        handled = pour(guest, program, 100_000 // THREADS)
        found = calls_by_thread(module.logged(mark))
    assert handled > 10
    assert guest.log.lost == lost
    wanted = {(thread, call) for thread in range(THREADS) for call in range(100_000 // THREADS)}
    wanted |= {(THREADS, call) for call in range(handled)}
    assert len(found) == len(wanted)
    assert set(found) == wanted
    for thread in range(THREADS + 1):
        in_order = [call for by, call in found if by == thread]
        assert in_order == sorted(in_order)


def test_what_was_lost_is_counted(
    module: Interceptor, guest: Guest, compiled: Callable[[str], str]
) -> None:
    """More than the kernel's buffer holds, read too late: what is missing is the oldest."""
    program = compiled("calls")
    with module.intercepted(CALL):
        mark, lost = guest.log.mark(), guest.log.lost
        handled = pour(guest, program, 75_000)
        records = guest.log.since(mark)
        found = calls_by_thread(module.logged(mark))
    lost = guest.log.lost - lost
    assert lost > 0
    assert len(set(found)) == len(found)
    # Whatever else the kernel said may be among the lost.
    others = len(records) - len(found)
    assert 0 <= len(found) + lost - (THREADS * 75_000 + handled) <= others + 10


@pytest.mark.realtime
def test_nobody_waits_for_the_console_in_a_hook(
    module: Interceptor, guest: Guest, compiled: Callable[[str], str]
) -> None:
    """Who sleeps in a hook is not waited for at unload; with preemption off printk() does not."""
    program = compiled("calls")
    mount_tracing(guest)
    guest.run(f"cd {TRACING} && echo > trace && echo 1 > events/printk/console/enable").check()
    with module.intercepted(CALL):
        pour(guest, program, 10)
    end = "echo 0 > events/printk/console/enable && cat trace"
    trace = guest.run(f"cd {TRACING} && {end}").check().stdout
    head, states = PREEMPT.search(trace), TRACED.findall(trace)
    assert head
    assert len(states) >= 10 * THREADS
    assert [state for state in states if not state[len(head[1]) + 1].isdigit()] == []


@pytest.mark.test_limit(60)
def test_a_log_that_is_logged_has_an_end(module: Interceptor, guest: Guest) -> None:
    """To read it is to write to it, where everybody's read() is monitored."""
    number = guest.syscalls.number("read")
    with module.intercepted("read"):
        mark = guest.log.mark()
        assert module.start("read").value == 0
        for _ in range(3):
            guest.log.mark()
        assert module.stop("read").value == 0
        assert {call.syscall.number for call in module.logged(mark)} == {number}
