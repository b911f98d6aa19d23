# SPDX-License-Identifier: GPL-2.0
"""The cost of the hijack, in instructions of the guest, holds."""

import pytest

from pyharness import CheckFailed, Guest
from pyharness.host.progress import NoProgress
from pyharness.interceptor import MODULE, bench

pytestmark = pytest.mark.alone

SCATTER = 0.5
# What a call costs at most that nobody is monitored for. Through the table, it leaves by a
# retpoline; amd64's kernels have thunks where calls return, and landings for indirect branches.
BY_TABLE = 26
BY_HANDLER = {"i386": 16, "amd64": 23}


@pytest.mark.test_limit(300)
def test_cost_holds(guest: Guest) -> None:
    spec = guest.qemu.saved_state.spec
    most = BY_TABLE if spec.dispatch == "table" else BY_HANDLER[spec.architecture]
    built = guest.build(MODULE)
    program = bench.build_program(guest, MODULE)
    costs = {
        cost.state: cost
        for cost in bench.run(guest.qemu.saved_state, built.ko, program, progress=NoProgress())
    }
    base = costs["base"]

    def more(state: str) -> float:
        return costs[state].null - base.null

    for state in ("loaded", "released", "all-released", "unloaded"):
        assert abs(more(state)) <= SCATTER, state
    for state, cost in costs.items():
        if not state.startswith("all-intercepted"):
            assert abs(cost.other - base.other) <= SCATTER, state
    for state in ("intercepted", "all-intercepted"):
        assert more(state) <= most, state
    assert costs["all-intercepted"].other - base.other <= most
    for state in ("monitored-1", "monitored-100", "monitored-30000", "all-intercepted-monitored-1"):
        assert more(state) <= 64, state
    assert abs(more("monitored-30000") - more("monitored-1")) <= 15


def test_a_benchmark_that_stops_half_way_is_no_result() -> None:
    text = "bench: base null 350.20\nbench: base other 319.20\nbench: failed: start: Invalid\n"
    with pytest.raises(CheckFailed, match=r"did not get to 'loaded'(.|\n)*failed: start"):
        bench.parse(text)


def test_table_and_json() -> None:
    lines = [
        f"bench: {state} {call} {350 + number}.25"
        for number, state in enumerate(bench.STATES)
        for call in ("null", "other")
    ]
    costs = bench.parse("\n".join(lines))
    assert "+10.00" in bench.as_table(costs).splitlines()[-1]
    assert '"null": 350.25' in bench.as_json(costs)
