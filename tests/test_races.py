# SPDX-License-Identifier: GPL-2.0
"""Commands, calls and deaths at the same moment, on four CPUs, thousands of times."""

import re
from collections.abc import Callable

import pytest

from pyharness import Guest, Module
from pyharness.status import Intercepted

ROUNDS = 10_000
SECONDS = 60
CALL = "sched_rr_get_interval"

pytestmark = pytest.mark.cpus(4)

# What tests/programs/race.c does, whether the call is still intercepted at the
# end, for how long at most, and how many rounds that are at least: few where a
# call is given back in each, which on PREEMPT_RT takes a quarter of a second.
KINDS = {
    "intercept": (CALL, False, SECONDS, 20),
    "start": (CALL, True, SECONDS, 100),
    "exits": (CALL, True, SECONDS, 100),
    "exits-waiting": (CALL, True, SECONDS // 3, 10),
    "in-flight": ("getppid", False, SECONDS, 20),
    "release": (CALL, True, SECONDS // 3, 10),
    "exit-storm": (CALL, True, SECONDS, 100),
    "preempting": (CALL, True, SECONDS // 3, 100),
}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", KINDS)
def test_race(
    module: Module,
    guest: Guest,
    compiled: Callable[[str], str],
    record_property: Callable[[str, object], None],
    kind: str,
) -> None:
    """As often as it's told to, or as it can in a minute; afterwards nobody is left listed."""
    call, stays, most, least = KINDS[kind]
    number = guest.syscalls.number(call)
    line = [compiled("race"), kind, str(number), str(ROUNDS), str(most)]
    done = guest.run(line, seconds=2 * SECONDS)
    assert done.status == 0, done.stdout
    said = re.fullmatch(r"(\d+) rounds in (\d+) s\n", done.stdout)
    assert said, done.stdout
    rounds, seconds = map(int, said.groups())
    record_property("rounds", rounds)
    assert rounds >= ROUNDS or seconds >= most
    assert rounds > least
    left = {number: Intercepted(number, "listed", frozenset())} if stays else {}
    guest.wait("the last of the dead to be forgotten", lambda: module.status() == left)
