# SPDX-License-Identifier: GPL-2.0
"""The comparison with other tracers gives plausible numbers, and leaves nothing behind."""

import pytest

from pyharness import Guest
from pyharness.guest.guest import read_module
from pyharness.host.progress import NoProgress
from pyharness.interceptor import MODULE, peer_rows, peers
from pyharness.linux import kernel_release

pytestmark = [pytest.mark.alone, pytest.mark.peers]

# What two measurements of the same thing differ by at most, in instructions.
SCATTER = 0.5
OURS = ("interceptor-another", "interceptor-printk", "interceptor-event", "interceptor-ring")
NAMES = (*OURS, "ftrace-event", "ftrace-kprobe", "strace")


@pytest.mark.test_limit(900)
def test_costs_are_plausible(guest: Guest) -> None:
    built = guest.build(MODULE)
    rows = peer_rows.applicable(
        peer_rows.chosen(peer_rows.load(), NAMES), read_module(built.ko).parameters
    )
    files = peers.build_programs(guest) | peers.module_files(built.ko, MODULE)
    # A program that no guest has is named, and its row does not end the others.
    absent = peer_rows.PeerRow(name="absent", title="absent", programs=("nosuch",), start="true")
    costs = {
        cost.row.name: cost
        for cost in peers.run(guest.qemu.saved_state, files, [absent, *rows], progress=NoProgress())
    }
    assert costs.pop("absent").missing == "the guest has no program nosuch"
    assert {name: cost.missing for name, cost in costs.items()} == dict.fromkeys(NAMES, "")
    added = {name: cost.added for name, cost in costs.items() if cost.added}
    traced = {name: cost.traced for name, cost in added.items()}

    # strace stops the process twice in each call; a kprobe event does more than nothing at all.
    assert traced["strace"] > 10 * traced["ftrace-event"]
    assert traced["strace"] > traced["interceptor-printk"] > traced["interceptor-another"]
    assert traced["ftrace-kprobe"] > 100
    assert traced["interceptor-ring"] < traced["interceptor-event"] < traced["interceptor-printk"]
    if kernel_release.matches(guest.facts.release, (">=6.1",)):  # before, its own does less
        assert traced["interceptor-event"] < traced["ftrace-event"]
    # Whoever is not monitored pays what soak/test_bench.py allows, and other calls nothing.
    assert 0 < added["interceptor-printk"].other_process <= 64
    assert 0 < traced["interceptor-another"] <= 64
    for name in (*OURS, "ftrace-kprobe"):
        assert abs(added[name].other_call) <= SCATTER, name
    # The event is enabled for every call of every process, strace for one process.
    assert added["ftrace-event"].other_call > 10
    assert abs(added["strace"].other_process) <= SCATTER
    for name, cost in costs.items():
        assert cost.left
        for value in (cost.left.traced, cost.left.other_process, cost.left.other_call):
            assert abs(value) <= SCATTER, name
