# SPDX-License-Identifier: GPL-2.0
"""Repeats a test once if QEMU has emulated its guest wrongly, which is not the test's fault."""

from types import ModuleType

import pytest
from _pytest.runner import runtestprotocol

from pyharness.errors import EmulatorFault

# The property of a test that was repeated, with the reason.
REPEATED = "repeated"
# The property of a test whose guest had to be replaced before it, with the reason.
REPLACED = "replaced"
_SECTIONS = {REPEATED: "tests that were repeated", REPLACED: "tests whose guest was replaced"}
_FAULT = pytest.StashKey[str]()
_IS_FIRST = pytest.StashKey[bool]()  # the test is in the run that may be repeated


def note(item: pytest.Item, error: BaseException) -> None:
    """Note why a phase of a test has failed, so that run() knows whether to repeat the test."""
    if isinstance(error, EmulatorFault):
        item.stash[_FAULT] = error.fault


def is_due(item: pytest.Item) -> bool:
    """Return whether the present run of a test will be repeated, so that it does not count."""
    return _IS_FIRST in item.stash and _FAULT in item.stash


def is_run_by_another(item: pytest.Item, nextitem: pytest.Item | None, *, this: ModuleType) -> bool:
    """Have another plugin run a test, such as one that runs failed tests again, if it does so.

    A fault of QEMU is a failure like others then.

    Args:
        item: the test.
        nextitem: the test after it.
        this: the plugin that asks.
    """
    manager = item.config.pluginmanager
    implemented = item.ihook.pytest_runtest_protocol.get_hookimpls()
    others = [hook.plugin for hook in implemented if not (hook.wrapper or hook.hookwrapper)]
    others = [one for one in others if one not in (this, manager.getplugin("runner"))]
    if not others:
        return False
    # Wrappers are around this call already.
    rest = [plugin for plugin in manager.get_plugins() if plugin not in others]
    call = manager.subset_hook_caller("pytest_runtest_protocol", rest)
    return call(item=item, nextitem=nextitem) is not None


def run(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Run all phases of a test, as pytest does; twice if QEMU has emulated its guest wrongly.

    Args:
        item: the test.
        nextitem: the test after it, which keeps the fixtures that it shares.
    """
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    item.stash[_IS_FIRST] = True
    reports = runtestprotocol(item, log=False, nextitem=nextitem)
    del item.stash[_IS_FIRST]
    if fault := item.stash.get(_FAULT, ""):
        item.user_properties.append((REPEATED, fault))
        reports = runtestprotocol(item, log=False, nextitem=nextitem)
    for report in reports:
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)


def summarize(terminal: pytest.TerminalReporter) -> None:
    """Write which tests were repeated, or had to get another guest, and why."""
    reports = [report for reports in terminal.stats.values() for report in reports]
    for name, title in _SECTIONS.items():
        tests = {
            report.nodeid: dict(report.user_properties)[name]
            for report in reports
            if name in dict(getattr(report, "user_properties", ()))
        }
        if tests:
            terminal.section(title)
        for test, why in tests.items():
            terminal.write_line(f"{test}: {why}")
