# SPDX-License-Identifier: GPL-2.0
"""Writes the results of a run to the file of --results; only the main process does so."""

import json
import time
from contextlib import suppress

import pytest

from pyharness.pytest_plugin import options
from pyharness.pytest_plugin.results import Report
from pyharness.pytest_plugin.target import known_targets

# The property of a test with the name of its guest, in a run over several.
GUEST = "pyharness_guest"


class Reporter:
    """A plugin that collects the results, and writes them when the run ends."""

    def __init__(self, config: pytest.Config) -> None:
        """Begin the report of a run."""
        self._config = config
        self._report = Report(time.time())

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """Add a test that begins."""
        self._report.begin(nodeid)

    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        """Note that Ctrl-C or pytest.exit() has interrupted the run."""
        self._report.interrupt(str(excinfo.value))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Add the result of a phase of a test.

        Only a failure of a subtest is one of the test, whose duration includes that of the subtest.
        """
        of_subtest = hasattr(report, "context")  # in pytest, and in pytest-subtests
        if of_subtest and not report.failed:
            return
        self._report.add(
            report.nodeid,
            report.when or "call",
            report.outcome,
            seconds=0.0 if of_subtest else report.duration,
            message=_message(report),
            properties={str(name): representable(value) for name, value in report.user_properties},
        )

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Add a file that could not be collected."""
        if report.failed:
            self._report.add(
                report.nodeid, "collect", report.outcome, seconds=0.0, message=_message(report)
            )

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Write the file."""
        guests = [
            {
                "name": target.name,
                "architecture": target.architecture,
                "kernel": target.facts.release if target.facts else None,
                "description": str(target),
            }
            for target in known_targets(self._config)
        ]
        path = options.absolute(self._config, self._config.getoption("results"))
        path.parent.mkdir(parents=True, exist_ok=True)
        whole = self._report.as_json(guests, time.time(), int(session.exitstatus))
        path.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")


def representable(value: object) -> object:
    """Return a value that a test has recorded as JSON can represent it: if need be, as a string."""
    with suppress(Exception):  # also those of the value's own methods
        return json.loads(json.dumps(value, allow_nan=False, default=str))
    with suppress(Exception):
        return str(value)
    return object.__repr__(value)


def _message(report: pytest.TestReport | pytest.CollectReport) -> str:
    """Return why a test, or a file, did not pass; nothing if it did."""
    if report.passed:
        return ""
    # A test that is expected to fail; pytest.xfail() has pytest put a word before its reason.
    if known := str(getattr(report, "wasxfail", "")).removeprefix("reason: "):
        return known
    match report.longrepr:
        case (_, _, str(reason)):  # a test that was skipped, and where
            return reason.removeprefix("Skipped: ")
    crash = getattr(report.longrepr, "reprcrash", None)
    return str(crash.message if crash else report.longrepr)
