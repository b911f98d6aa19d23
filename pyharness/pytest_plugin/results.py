# SPDX-License-Identifier: GPL-2.0
"""Collects the results of a test run as one JSON object; docs/results.md has its schema. Pure."""

from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

SCHEMA = 1
# From the worst to the best: a test's outcome is the worst outcome of its phases.
OUTCOMES = ("error", "failed", "interrupted", "skipped", "passed")
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
        self._running: set[str] = set()
        # The phases, by test, to which another plugin gave an outcome of its own, and the messages.
        self._foreign: dict[str, dict[str, str]] = {}
        self._interruption: str | None = None

    def begin(self, name: str) -> None:
        """Add a test that begins now: until its teardown is added, it has not ended."""
        self._tests.setdefault(name, Test(name))
        self._running.add(name)

    def interrupt(self, reason: str) -> None:
        """Note that the run was interrupted, and why; the reason may be empty."""
        self._interruption = reason

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
            outcome: the phase's outcome in pytest: ``passed``, ``failed`` or ``skipped``. Any
                other is of a plugin that runs the test again: the phase does not count if its test
                begins again; otherwise it has failed.
            seconds: how long the phase took.
            message: why it did not pass.
            properties: what the test has recorded by ``record_property`` so far.
        """
        test = self._tests.setdefault(name, Test(name))
        if phase == "setup":  # perhaps once more
            self._running.add(name)
            self._foreign.pop(name, None)
        if outcome not in ("passed", "failed", "skipped"):
            self._foreign.setdefault(name, {})[phase] = message or outcome
        else:
            _worsen(test, _outcome_of(phase, outcome), message)
            if phase == "teardown":
                self._running.discard(name)
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
        outcome = _RUNS.get(exit_status, "failed")
        if counts["error"] + counts["failed"]:
            outcome = "failed"
        elif counts["interrupted"] or self._interruption is not None:
            outcome = "interrupted"
        return {
            "schema": SCHEMA,
            "started": datetime.fromtimestamp(self._started, UTC).isoformat(timespec="seconds"),
            "seconds": round(ended - self._started, 3),
            "outcome": outcome,
            "exit_status": exit_status,
            "counts": counts,
            "guests": guests,
            "tests": tests,
        }

    def _listed(self) -> list[dict[str, Any]]:
        tests = map(self._concluded, self._tests.values())
        return [asdict(test) for test in sorted(tests, key=lambda test: test.id)]

    def _concluded(self, test: Test) -> Test:
        """Return a test with the outcome that it has if nothing more of it follows."""
        concluded = replace(test)
        if test.id in self._running:
            reason = f": {self._interruption}" if self._interruption else ""
            _worsen(concluded, "interrupted", f"the run ended before the test{reason}")
        else:
            for phase, message in self._foreign.get(test.id, {}).items():
                _worsen(concluded, _outcome_of(phase, "failed"), message)
        return concluded


def _outcome_of(phase: str, outcome: str) -> str:
    """Return the outcome of a test, one of OUTCOMES, as far as one phase decides it."""
    unlike_call = phase in ("collect", "setup", "teardown")
    return "error" if outcome == "failed" and unlike_call else outcome


def _worsen(test: Test, outcome: str, message: str) -> None:
    """Give a test an outcome, and its message, if it is worse than the one that the test has."""
    if OUTCOMES.index(outcome) < OUTCOMES.index(test.outcome):
        test.outcome, test.message = outcome, message
