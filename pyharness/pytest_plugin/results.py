# SPDX-License-Identifier: GPL-2.0
"""The report of a test run as one JSON object; ``docs/results.md`` has its schema. Pure."""

from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

SCHEMA = 1
# From what is worst to what is best: a test's outcome is the worst of its parts'.
OUTCOMES = ("error", "failed", "skipped", "passed")
# A run's outcome, where no test says otherwise, by pytest's exit status.
_RUNS = {0: "passed", 2: "interrupted", 5: "no tests"}


@dataclass
class Test:
    """One test, or a file that could not be collected.

    Attributes:
        id: pytest's name for it.
        outcome: one of OUTCOMES.
        seconds: how long it took, with what it was prepared by.
        message: why it did not pass.
        properties: what it recorded by ``record_property``.
        console: the file with what came out of the serial console, beside the report.
    """

    id: str
    outcome: str = "passed"
    seconds: float = 0.0
    message: str = ""
    properties: dict[str, Any] = field(default_factory=dict)
    console: str | None = None


class Report:
    """A run's tests, as they end."""

    def __init__(self, started: float) -> None:
        """A run that started then, in seconds since the epoch."""
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
        """Add a part of a test.

        Args:
            name: the test's.
            phase: ``collect``, ``setup``, ``call`` or ``teardown``.
            outcome: of the part, as pytest has it.
            seconds: how long it took.
            message: why it did not pass.
            properties: what the test recorded so far.
        """
        test = self._tests.setdefault(name, Test(name))
        if outcome == "failed" and phase != "call":
            outcome = "error"
        if OUTCOMES.index(outcome) < OUTCOMES.index(test.outcome):
            test.outcome, test.message = outcome, message
        test.seconds += seconds
        recorded = dict(properties or {})
        test.console = recorded.pop("console", test.console)
        test.properties |= recorded

    def as_json(
        self, guest: dict[str, Any] | None, ended: float, exit_status: int
    ) -> dict[str, Any]:
        """All of it.

        Args:
            guest: what the tests ran on, None if none was asked for.
            ended: when, in seconds since the epoch.
            exit_status: of pytest.
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
            "guest": guest,
            "tests": tests,
        }

    def _listed(self) -> list[dict[str, Any]]:
        return [asdict(test) for test in sorted(self._tests.values(), key=lambda test: test.id)]
