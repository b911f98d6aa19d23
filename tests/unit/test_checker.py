# SPDX-License-Identifier: GPL-2.0
"""The order in which rules are decided, two at a time, and what ends a check; needs no guest.

What a guest would show is made up: whether the module builds, and which rules it breaks.
"""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pyharness.errors import EmulatorFault, GuestError, HostError
from pyharness.host.progress import NoProgress
from pyharness.interceptor.rules import catalogue, checking, scheme
from pyharness.interceptor.rules.attempt import Decided
from pyharness.interceptor.rules.checking import Checker
from pyharness.interceptor.rules.rule import Rule
from pyharness.interceptor.rules.settings import Settings
from pyharness.interceptor.rules.verdict import Checked, Outcome
from pyharness.machine import saved_states

Check = Callable[..., Checked]


class Guests:
    """In place of CleanGuests."""

    made: list["Guests"]

    def __init__(self, _name: str, _progress: object) -> None:
        self.release = "5.10"
        self.closed = False
        self.spare = bool(Guests.made)
        Guests.made.append(self)

    def ready(self, _cpus: int) -> None:
        if self.spare:
            raise HostError("no memory for a second guest")

    def discard(self, _cpus: int) -> None:
        pass

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Check:
    """Checks a module that breaks some rules; ``builds`` takes longer than anything else."""

    def checks(
        *broken: str,
        only: tuple[str, ...] = (),
        decided: Callable[[Any], object] = lambda _verdict: None,
        count: int = 2,
        before: Callable[[str], object] = lambda _rule: None,
        **found: object,
    ) -> Checked:
        def build(self: Checker, _guests: object) -> object:
            time.sleep(0.05)
            self._built = SimpleNamespace(subject=SimpleNamespace())  # type: ignore[assignment]
            return Decided(outcome("builds"))

        def attempt(self: Checker, rule: Rule, _guests: object) -> object:
            assert self._subject()
            before(rule.id)
            return Decided(outcome(rule.id))

        def outcome(rule: str) -> Outcome:
            return Outcome.FAILED if rule in broken else Outcome.PASSED

        Guests.made = []
        monkeypatch.setattr(checking, "CleanGuests", Guests)
        monkeypatch.setattr(saved_states, "ensure", lambda *_words, **_named: None)
        monkeypatch.setattr(Checker, "_build", build)
        monkeypatch.setattr(Checker, "_try", attempt)
        chosen = scheme.parse("made up", found, catalogue.IDS)
        settings = Settings(guest=checking.GUEST, scheme=chosen, seed=1, only=only)
        with Checker(tmp_path, settings, NoProgress(), count) as checker:
            return checker.check(decided)

    return checks


@pytest.mark.parametrize("count", [1, 2])
def test_all_rules_are_decided_in_the_catalogues_order(check: Check, count: int) -> None:
    done = check(count=count)
    assert not done.status
    assert [verdict.rule for verdict in done.report.verdicts] == list(catalogue.IDS)
    assert all(guests.closed for guests in Guests.made)


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("without", ["loads", "takes-commands", "start-stop", "log-line"])
def test_what_depends_on_a_rule_that_is_left_out_waits_for_what_that_one_needs(
    check: Check, without: str, count: int
) -> None:
    done = check(count=count, without=[without])
    assert not done.report.problem
    assert done.report.passed
    broken = check("builds", count=count, without=[without])
    assert {v.because for v in broken.report.verdicts} == {"", "builds"}
    assert [v.rule for v in broken.report.verdicts if v.outcome is Outcome.FAILED] == ["builds"]


def test_a_spare_guest_that_can_not_be_started_is_not_missed(check: Check) -> None:
    assert check(only=("builds",)).report.passed
    assert check(only=("loads",)).report.passed


def test_the_threads_have_ended_when_a_verdict_can_not_be_printed(check: Check) -> None:
    before = threading.active_count()

    def broken_pipe(_verdict: object) -> None:
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        check(decided=broken_pipe)
    assert threading.active_count() == before
    assert all(guests.closed for guests in Guests.made)


@pytest.mark.parametrize(("faults", "outcome"), [(1, Outcome.PASSED), (2, Outcome.FAILED)])
def test_what_looks_twice_like_a_fault_of_qemu_is_the_modules(
    check: Check, faults: int, outcome: Outcome
) -> None:
    """A module can print what a fault of QEMU's looks like; a real one is rare."""
    left = [EmulatorFault("the kernel died", fault="QEMU did it", report="Oops")] * faults

    def before(rule: str) -> None:
        if rule == "loads" and left:
            raise left.pop()

    done = check(before=before)
    assert (done.status, done.report.problem) == (0, "")
    verdict = next(verdict for verdict in done.report.verdicts if verdict.rule == "loads")
    assert verdict.outcome is outcome
    assert verdict.crash == ("Oops" if outcome is Outcome.FAILED else "")
    assert "QEMU did it" not in verdict.evidence


@pytest.mark.parametrize("count", [1, 2])
def test_whatever_is_raised_becomes_the_reports_problem(check: Check, count: int) -> None:
    def before(rule: str) -> None:
        if rule == "start-stop":
            raise ZeroDivisionError("oh")

    done = check(before=before, count=count)
    assert done.status == GuestError.exit_code
    assert "a bug of pyharness: ZeroDivisionError in test_checker.py:" in done.report.problem
    assert "loads" in [verdict.rule for verdict in done.report.verdicts]
    assert all(guests.closed for guests in Guests.made)
