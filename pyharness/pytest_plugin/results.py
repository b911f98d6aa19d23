# SPDX-License-Identifier: GPL-2.0
"""Collects the results of a test run as one JSON object; docs/results.md has its schema. Pure."""

from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

SCHEMA = 1
# From the worst to the best: a test's outcome is the worst outcome of its phases.
OUTCOMES = ("error", "failed", "skipped", "passed")
# The outcome of a run without a failure, by pytest's exit status.
_RUNS = {0: "passed", 2: "interrupted", 5: "no tests"}


@dataclass
class Test:
    """The result of one test, or of a file that could not be collected.

    Attributes:
        id: its node ID in pytest.
        outcome: one of OUTCOMES.
        seconds: how long it took, with setup and teardown.
        message: why it did not pass; empty if it did.
        properties: what the test recorded by ``record_property``.
        console: the path of the file with the serial console's output; None if there is none.
        guest: the guest's name, if the run was over several guests and the test needs one.
    """

    id: str
    outcome: str = "passed"
    seconds: float = 0.0
    message: str = ""
    properties: dict[str, Any] = field(default_factory=dict)
    console: str | None = None
    guest: str | None = None


class Report:
    """The results of a run, collected phase by phase."""

    def __init__(self, started: float) -> None:
        """Begin the report of a run that started at a time, in seconds since the epoch."""
        self._started = started
        self._tests: dict[str, Test] = {}

    def add(
        self,
        name: str,
        phase: str,
        outcome: str,
        *,
        seconds: float,
        message: str = "",
        properties: dict[str, Any] | None = None,
    ) -> None:
        """Add the result of one phase of a test.

        Args:
            name: the test's node ID.
            phase: ``collect``, ``setup``, ``call`` or ``teardown``; any other, such as the
                ``???`` that pytest-xdist has for a test that ended its worker, counts as ``call``.
            outcome: the phase's outcome in pytest: ``passed``, ``failed`` or ``skipped``.
            seconds: how long the phase took.
            message: why it did not pass.
            properties: what the test has recorded by ``record_property`` so far.
        """
        test = self._tests.setdefault(name, Test(name))
        if outcome == "failed" and phase in ("collect", "setup", "teardown"):
            outcome = "error"
        if OUTCOMES.index(outcome) < OUTCOMES.index(test.outcome):
            test.outcome, test.message = outcome, message
        test.seconds += seconds
        recorded = dict(properties or {})
        test.console = recorded.pop("console", test.console)
        test.guest = recorded.pop("pyharness_guest", test.guest)
        test.properties |= recorded

    def as_json(
        self, guests: list[dict[str, Any]], ended: float, exit_status: int
    ) -> dict[str, Any]:
        """Return the report as an object for JSON.

        Args:
            guests: the facts about each guest of the run; empty if it had none.
            ended: the end of the run, in seconds since the epoch.
            exit_status: the exit status of pytest.
        """
        tests = [test | {"seconds": round(test["seconds"], 3)} for test in self._listed()]
        counts = {kind: sum(test["outcome"] == kind for test in tests) for kind in OUTCOMES}
        wrong = counts["error"] + counts["failed"]
        return {
            "schema": SCHEMA,
            "started": datetime.fromtimestamp(self._started, UTC).isoformat(timespec="seconds"),
            "seconds": round(ended - self._started, 3),
            "outcome": "failed" if wrong else _RUNS.get(exit_status, "failed"),
            "exit_status": exit_status,
            "counts": counts,
            "guests": guests,
            "tests": tests,
        }

    def _listed(self) -> list[dict[str, Any]]:
        return [asdict(test) for test in sorted(self._tests.values(), key=lambda test: test.id)]
