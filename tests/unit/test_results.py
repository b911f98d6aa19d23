# SPDX-License-Identifier: GPL-2.0
"""The results of a run, as --results writes them. No guest."""

import json
from typing import Any

import pytest

from pyharness.pytest_plugin import reporter
from pyharness.pytest_plugin.results import OUTCOMES, Report

TEST = "test_a.py::test_it"
PHASES = ("setup", "call", "teardown")


class Shown:
    """An object whose text is known."""

    def __str__(self) -> str:
        return "shown"


class Mute:
    """An object that has no text."""

    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


def ended(report: Report, exit_status: int = 0) -> dict[str, Any]:
    return report.as_json([], 1.0, exit_status)


def outcome_of(report: Report) -> str:
    (test,) = ended(report)["tests"]
    return str(test["outcome"])


def add(report: Report, *phases: tuple[str, str]) -> None:
    for phase, outcome in phases:
        report.add(TEST, phase, outcome, seconds=1.0, message=f"{phase} {outcome}")


# ---- tests that did not end ----


@pytest.mark.parametrize("phases", [(), PHASES[:1], PHASES[:2]])
def test_a_test_that_did_not_end_has_not_passed(phases: tuple[str, ...]) -> None:
    report = Report(0.0)
    report.begin(TEST)
    add(report, *((phase, "passed") for phase in phases))
    report.interrupt("enough")
    whole = ended(report)
    assert whole["outcome"] == "interrupted"
    assert whole["counts"] == dict.fromkeys(OUTCOMES, 0) | {"interrupted": 1}
    assert whole["tests"][0]["outcome"] == "interrupted"
    assert whole["tests"][0]["message"] == "the run ended before the test: enough"


def test_a_failure_counts_more_than_an_interruption() -> None:
    report = Report(0.0)
    add(report, ("setup", "passed"), ("call", "failed"))
    report.interrupt("")
    assert outcome_of(report) == ended(report)["outcome"] == "failed"


def test_a_run_that_was_interrupted_between_tests_says_so() -> None:
    for status in (0, 2, 7):
        report = Report(0.0)
        add(report, *((phase, "passed") for phase in PHASES))
        report.interrupt("enough")
        assert ended(report, status)["outcome"] == "interrupted"
        assert outcome_of(report) == "passed"


# ---- outcomes of other plugins ----


@pytest.mark.parametrize("phase", PHASES)
def test_the_last_attempt_of_a_test_counts(phase: str) -> None:
    report = Report(0.0)
    first = PHASES[: PHASES.index(phase)]
    add(report, *((one, "passed") for one in first), (phase, "rerun"))
    add(report, *((one, "passed") for one in PHASES))
    assert outcome_of(report) == "passed"
    add(report, ("setup", "rerun"), ("setup", "passed"), ("call", "failed"), ("teardown", "passed"))
    assert outcome_of(report) == "failed"


def test_a_test_that_is_skipped_when_it_is_run_again_is_skipped() -> None:
    report = Report(0.0)
    add(report, ("setup", "passed"), ("call", "rerun"), ("setup", "skipped"))
    add(report, ("teardown", "passed"))
    assert outcome_of(report) == "skipped"


def test_an_unknown_outcome_is_not_taken_for_a_success() -> None:
    report = Report(0.0)
    add(report, ("setup", "passed"), ("call", "made up"), ("teardown", "passed"))
    (test,) = ended(report)["tests"]
    assert (test["outcome"], test["message"]) == ("failed", "call made up")


# ---- what tests record, and messages ----


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ([1, {"a": None}, "b"], [1, {"a": None}, "b"]),
        ((1, 2), [1, 2]),
        ({"where": Shown()}, {"where": "shown"}),
        (float("nan"), "nan"),
        ([1.5, float("-inf")], "[1.5, -inf]"),
        ({(0, 1): 5}, "{(0, 1): 5}"),
        ({1: 2}, {"1": 2}),
        ({3}, "{3}"),
        ("\udc80", "\udc80"),
    ],
)
def test_a_value_that_json_cannot_represent_is_a_string(value: object, written: object) -> None:
    found = reporter.representable(value)
    assert found == written
    assert json.loads(json.dumps(found, allow_nan=False)) == written


def test_a_value_that_cannot_be_written_at_all_is_named_by_its_class() -> None:
    endless: list[object] = []
    endless.append(endless)
    assert reporter.representable(endless) == "[[...]]"
    assert "Mute object at" in str(reporter.representable(Mute()))
    assert "int object at" in str(reporter.representable(10**5000))
