# SPDX-License-Identifier: GPL-2.0
"""Commands, calls and deaths at the same moment, on four CPUs, thousands of times."""

import re
from collections.abc import Callable

import pytest

from pyharness import Guest
from pyharness.interceptor import Intercepted, Interceptor, command_programs

ROUNDS = 10_000
SECONDS = 60
CALL = "sched_rr_get_interval"

pytestmark = pytest.mark.cpus(4)

# What inside/race.c does, whether the call is still intercepted at the
# end, and for how long at most.
KINDS = {
    "intercept": (CALL, False, SECONDS),
    "start": (CALL, True, SECONDS),
    "exits": (CALL, True, SECONDS),
    "exits-waiting": (CALL, True, SECONDS),
    "in-flight": ("getppid", False, SECONDS),
    "release": (CALL, True, SECONDS // 3),
    "exit-storm": (CALL, True, SECONDS),
    "exit-list": (CALL, True, SECONDS),
    "preempting": (CALL, True, SECONDS // 3),
}
# How many rounds there are at least, on however busy a host; fewer on PREEMPT_RT where a call is
# given back in each, which takes a quarter of a second there.
LEAST = 100
LEAST_REALTIME = {"intercept": 20, "exits-waiting": 10, "in-flight": 20, "release": 10}


@pytest.mark.test_limit(300)
@pytest.mark.parametrize("kind", KINDS)
def test_race(
    module: Interceptor,
    guest: Guest,
    record_property: Callable[[str, object], None],
    *,
    soak: float,
    kind: str,
) -> None:
    """As often as asked for, or as it can in a minute; afterwards nobody is left listed."""
    call, persistent, most = KINDS[kind]
    number = guest.syscalls.number(call)
    realtime = "-rt-" in guest.facts.release
    least = LEAST_REALTIME.get(kind, LEAST) if realtime else LEAST
    wanted, most = round(soak * ROUNDS), max(round(soak * most), 1)
    numbers = map(str, (number, wanted, most, least))
    program = command_programs.install(guest, "race")
    line = [program, command_programs.numbers(module.interface), kind, *numbers]
    done = guest.run(line, seconds=2 * max(most, SECONDS))
    assert done.status == 0, done.stdout
    said = re.fullmatch(r"(\d+) rounds in (\d+) s\n", done.stdout)
    assert said, done.stdout
    rounds, seconds = map(int, said.groups())
    record_property("rounds", rounds)
    assert rounds >= wanted or (rounds >= least and seconds >= most)
    ref = guest.syscalls.ref(number)
    left = {ref: Intercepted(ref, "listed", frozenset())} if persistent else {}
    guest.wait("the last of the dead to be forgotten", lambda: module.status() == left)
