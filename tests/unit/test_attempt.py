# SPDX-License-Identifier: GPL-2.0
"""What a crash makes of a rule, depending on when it comes; needs no guest.

A kernel has no sign of its crash but what it prints: somebody has to look.
"""

from types import SimpleNamespace
from typing import Any

import pytest

from pyharness.errors import EmulatorFault, GuestCrashed
from pyharness.interceptor.rules.attempt import Decided, attempt
from pyharness.interceptor.rules.rule import Rule
from pyharness.interceptor.rules.trial import RuleBroken
from pyharness.interceptor.rules.verdict import Outcome

CRASH = GuestCrashed("the kernel is in trouble", report="Oops: 0000", history="a request")
FAULT = EmulatorFault("the kernel is in trouble", fault="QEMU", report="Oops: 0000")


class Tried:
    """In place of Trial, its guest and its actors; the guest crashes in one step of the attempt.

    Whether it has crashed shows only when its health is checked.
    """

    def __init__(self, at: str = "", error: Exception = CRASH) -> None:
        self.at, self.error = at, error
        self.crashed = False
        self.guest: Any = self
        self.health: Any = self
        self.log: Any = SimpleNamespace(next=0, mark=lambda: 0, since=lambda _mark: [])
        self.scheme: Any = SimpleNamespace(rule_seconds=60)
        self.subject: Any = SimpleNamespace(name="it")
        self.root: Any = SimpleNamespace(syscall=lambda *_words: SimpleNamespace(errno=0))
        self.steps = ""

    def step(self, name: str) -> None:
        self.crashed |= name == self.at

    def check(self) -> None:
        if self.crashed:
            raise self.error

    def clock(self) -> float:
        return 0.0

    def limit(self, seconds: float) -> float:
        return seconds

    def load(self) -> None:
        self.step("load")

    def dismiss(self) -> None:
        self.step("dismiss")

    def unload(self) -> None:
        self.step("unload")

    def left_behind(self) -> str:
        return ""


def tried(trial: Tried, *, broken: bool = False) -> Decided:
    def check(_trial: object) -> None:
        trial.step("rule")
        if broken:
            raise RuleBroken("wanted: another")

    rule = Rule(id="it", title="It.", check=check, points=1, after=())
    made_up: Any = trial
    return attempt(rule, made_up)


def test_a_rule_that_is_kept_leaves_a_clean_guest() -> None:
    assert tried(Tried()) == Decided(Outcome.PASSED, clean=True)


@pytest.mark.parametrize("at", ["load", "rule", "dismiss"])
def test_a_crash_at_the_end_of_a_rule_breaks_it(at: str) -> None:
    found = tried(Tried(at))
    assert (found.outcome, found.crash, found.clean) == (Outcome.FAILED, CRASH.report, False)
    assert "the kernel is in trouble" in found.evidence


def test_a_crash_by_unloading_is_left_to_the_rules_about_that() -> None:
    assert tried(Tried("unload")) == Decided(Outcome.PASSED, clean=False)


def test_a_broken_rule_shows_the_crash_that_came_with_it() -> None:
    found = tried(Tried("rule"), broken=True)
    assert (found.outcome, found.crash) == (Outcome.FAILED, CRASH.report)
    assert found.evidence == "wanted: another"
    assert not tried(Tried(), broken=True).crash


@pytest.mark.parametrize("broken", [False, True])
@pytest.mark.parametrize("at", ["load", "rule"])
def test_a_fault_of_the_emulator_decides_nothing(at: str, *, broken: bool) -> None:
    with pytest.raises(EmulatorFault):
        tried(Tried(at, FAULT), broken=broken)
