# SPDX-License-Identifier: GPL-2.0
"""Repeats a test once if QEMU has emulated its guest wrongly, which is not the test's fault."""

from types import ModuleType

import pytest
from _pytest.runner import runtestprotocol

from pyharness.errors import EmulatorFault

# The property of a test that was repeated, with the reason.
REPEATED = "repeated"
_FAULT = pytest.StashKey[str]()


def note(item: pytest.Item, error: BaseException) -> None:
    """Note why a phase of a test has failed, so that run() knows whether to repeat the test."""
    if isinstance(error, EmulatorFault):
        item.stash[_FAULT] = error.fault


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
    reports = runtestprotocol(item, log=False, nextitem=nextitem)
    if fault := item.stash.get(_FAULT, ""):
        item.user_properties.append((REPEATED, fault))
        reports = runtestprotocol(item, log=False, nextitem=nextitem)
    for report in reports:
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)


def summarize(terminal: pytest.TerminalReporter) -> None:
    """Write which tests were repeated, and why."""
    repeated = {
        report.nodeid: dict(report.user_properties)[REPEATED]
        for reports in terminal.stats.values()
        for report in reports
        if REPEATED in dict(getattr(report, "user_properties", ()))
    }
    if repeated:
        terminal.section("tests that were repeated")
    for name, why in repeated.items():
        terminal.write_line(f"{name}: {why}")
