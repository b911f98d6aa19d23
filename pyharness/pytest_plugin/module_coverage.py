# SPDX-License-Identifier: GPL-2.0
"""Reports, at the end of a run, which code of modules its tests have run."""

import os
import tempfile
from pathlib import Path

import pytest
from _pytest.terminal import TerminalReporter

from pyharness.errors import HarnessError
from pyharness.guest import coverage, coverage_report
from pyharness.pytest_plugin import options

_FOLDER = "module-coverage"


class ModuleCoverage:
    """A plugin of the main process that has guests count, and writes the report."""

    def __init__(self, config: pytest.Config) -> None:
        """Have all guests of this run count, also those of workers."""
        self._config = config
        self._text = ""
        self._target = options.artifacts_of(config) / _FOLDER
        self._collected = tempfile.TemporaryDirectory(prefix="pyharness-")
        config.add_cleanup(self._collected.cleanup)
        os.environ[coverage.VARIABLE] = self._collected.name

    def pytest_sessionstart(self) -> None:
        """Check that there can be a report."""
        with options.as_usage_error():
            coverage_report.check()

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Write the report; the run fails if too few lines have run."""
        limit = self._config.getoption("module_coverage_fail_under")
        try:
            text, enough = coverage_report.write(
                Path(self._collected.name),
                self._config.rootpath,
                self._config.getoption("module_coverage"),
                self._target,
                fail_under=limit,
            )
        except HarnessError as error:
            text, enough = f"{error}\n", limit is None
        files = [f"written: {path}\n" for path in coverage_report.files(self._target)]
        self._text = "".join((text, *files))
        if not enough:
            self._text += f"fewer than {limit:g} % of the lines have run\n"
            if session.exitstatus == pytest.ExitCode.OK:
                session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: TerminalReporter) -> None:
        """Print the report."""
        terminalreporter.section("coverage of modules")
        terminalreporter.write(self._text)
