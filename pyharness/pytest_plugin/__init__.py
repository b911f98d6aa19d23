# SPDX-License-Identifier: GPL-2.0
"""The pytest plugin: fixtures for guests, kernel modules and actors, for any project.

``docs/plugin.md`` describes it. Tests share a guest. If a test fails, or the kernel reports
trouble during it, the guest is discarded, and the next test gets another.

This file has the hooks, in the order in which pytest calls them; the other files of the folder
have what they do.
"""

import sys
from collections.abc import Generator
from typing import Any

import pytest

from pyharness.guest.module_source import ModuleSource
from pyharness.host import writable
from pyharness.linux import kernel_release
from pyharness.pytest_plugin import fixtures, markers, options, repeating, tracebacks, watching
from pyharness.pytest_plugin.debugging import Debugging
from pyharness.pytest_plugin.module_coverage import ModuleCoverage
from pyharness.pytest_plugin.reporter import GUEST, Reporter
from pyharness.pytest_plugin.target import (
    PARAMETER,
    Target,
    known_targets,
    make_ready,
    named_targets,
    target_of,
    targets_of,
)
from pyharness.pytest_plugin.time_limit import TimeLimits, limit_of

_USAGE_ERROR = "pyharness_usage_error"


def pytest_addoption(parser: pytest.Parser) -> None:
    options.add(parser)


def pytest_configure(config: pytest.Config) -> None:
    options.apply(config)
    config.pluginmanager.register(fixtures)
    config.pluginmanager.register(TimeLimits())
    counts = config.getoption("module_coverage") and not options.only_lists(config)
    if counts and not options.is_worker(config):
        config.pluginmanager.register(ModuleCoverage(config))
    if config.getoption("gdb") and not options.only_lists(config):
        config.pluginmanager.register(Debugging(config), "pyharness-gdb")
    if config.getoption("results") and not options.is_worker(config):
        config.pluginmanager.register(Reporter(config))


# ---- before and during collection ----


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """Check the options; determine the targets if options or configuration name a guest.

    With workers (pytest -n), also make the guests ready before they start, because their progress
    is not shown.
    """
    config = session.config
    if not options.is_worker(config) and not options.only_lists(config):
        options.check(config)
    if debugging := config.pluginmanager.getplugin("pyharness-gdb"):
        with options.as_usage_error():
            debugging.check()
    for target in named_targets(config):
        if options.has_workers(config) and not options.only_lists(config):
            make_ready(config, target)


# A wrapper runs before all other hooks: the guest is the first parameter in each test's ID.
@pytest.hookimpl(wrapper=True)
def pytest_generate_tests(metafunc: pytest.Metafunc) -> Generator[None, object, object]:
    """Have each test that uses a guest run in each of several guests."""
    if PARAMETER in metafunc.fixturenames and len(named_targets(metafunc.config)) > 1:
        targets = targets_of(metafunc.config)
        names = [target.name for target in targets]
        metafunc.parametrize(PARAMETER, targets, ids=names, indirect=True, scope="session")
    return (yield)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object | None:
    """Have a worker run all tests of one guest, before it goes on with those of another."""
    targets = named_targets(config)
    if len(targets) < 2 or config.getoption("dist") == "each":
        return None
    from pyharness.pytest_plugin.by_guest import ByGuest  # noqa: PLC0415  xdist is optional

    return ByGuest(config, log, [target.name for target in targets])


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Generator[None, object, object]:
    """Pass a worker's usage error to the main process.

    pytest-xdist would show an internal error instead.
    """
    try:
        return (yield)
    except pytest.UsageError as error:
        if options.is_worker(session.config):
            session.config.workeroutput[_USAGE_ERROR] = str(error)  # type: ignore[attr-defined]
        raise


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Raise a worker's usage error in the main process, which shows it."""
    if said := getattr(node, "workeroutput", {}).get(_USAGE_ERROR):
        raise pytest.UsageError(said)


def needs_guest(item: pytest.Item) -> bool:
    """Return whether a test uses a guest: a fixture of this plugin that depends on the target."""
    return PARAMETER in getattr(item, "fixturenames", ())


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Check the markers, and deselect the tests that are not for their guest.

    A run that only lists tests skips this, so that no guest is booted for it.
    """
    if options.only_lists(config):
        return
    for item in items:
        markers.check(item, uses_guest=needs_guest(item))
        limit_of(item)
    with_guest = [item for item in items if needs_guest(item)]
    if not with_guest:
        return
    for item in with_guest:
        asks = markers.kernels_of(item) or markers.options_of(item)
        if asks and not target_of(item).facts:
            make_ready(config, target_of(item))
    with options.as_usage_error():
        others = {item for item in with_guest if not is_for(item, target_of(item))}
    config.hook.pytest_deselected(items=[item for item in items if item in others])
    items[:] = [item for item in items if item not in others]
    if len(targets := targets_of(config)) > 1:
        for item in with_guest:
            if not hasattr(item, "callspec"):
                raise pytest.UsageError(
                    f"{item.nodeid}: a test of a unittest.TestCase can't be run in several guests:"
                    " name one by --guest, or write it as a function"
                )
            item.user_properties.append((GUEST, target_of(item).name))
        # Each guest is started once, whatever order the tests are in.
        items.sort(key=lambda item: targets.index(target_of(item)) if needs_guest(item) else -1)


def is_for(item: pytest.Item, target: Target) -> bool:
    """Return whether the markers of a test allow a guest."""
    if any(target.architecture not in names for names in markers.architectures_of(item)):
        return False
    if not target.boots and any(map(item.get_closest_marker, ("cpus", "fresh_guest", "console"))):
        return False
    if not target.facts:  # why nothing is known of it is the test's error
        return True
    asked = markers.options_of(item)
    if asked and not target.facts.kernel_options.keys() >= set(asked):
        return False
    return kernel_release.matches(target.facts.release, markers.kernels_of(item))


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Return the lines about the guests, if workers collect the tests and they are known."""
    early = options.has_workers(config) and not options.only_lists(config)
    return [f"guest: {target}" for target in known_targets(config)] if early else []


# This has to run before the hook of pytest's terminal, which asks for the lines about the guests.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    """Check the folders, and make the guests ready, that the collected tests need."""
    config = session.config
    wanting = [item for item in session.items if needs_guest(item)]
    if not wanting or options.only_lists(config):
        return
    with options.as_usage_error():
        writable.can_make_folder(options.artifacts_of(config), "--artifacts")
        if any(map(_takes_module_folder, wanting)):
            ModuleSource(options.module_folder_of(config))
    for target in targets_of(config):
        own = [item for item in wanting if target_of(item) is target]
        if own:
            make_ready(config, target, *sorted({markers.cpus_of(item) for item in own}))


def _takes_module_folder(item: pytest.Item) -> bool:
    """Return whether a test uses this plugin's fixture ``module_folder``, not an override of it."""
    known = getattr(getattr(item, "_fixtureinfo", None), "name2fixturedefs", {})
    found = known.get("module_folder", ())
    return bool(found) and getattr(found[-1].func, "__module__", "") == fixtures.__name__


def pytest_report_collectionfinish(config: pytest.Config, items: list[pytest.Item]) -> list[str]:
    """Return the lines about the guests, if this process collects the tests and they need any."""
    if options.only_lists(config):
        return []
    used = [target_of(item) for item in items if needs_guest(item)]
    return [f"guest: {target}" for target in targets_of(config) if target in used] if used else []


# ---- setup, call and teardown of a test ----


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Run a test that uses a guest, unless another plugin does; pytest itself runs the others."""
    if not needs_guest(item):
        return None
    if not repeating.is_run_by_another(item, nextitem, this=sys.modules[__name__]):
        repeating.run(item, nextitem)
    return True


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, object, object]:
    watching.discard_spoilt(item.config)  # in the teardown of the test before
    watching.rest(item.config, needed=needs_guest(item))
    return (yield from watching.attend(item, ends=False))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    return (yield from watching.attend(item, ends=True))


# Runs before the teardown of fixtures, but after the debugger of --pdb, which needs the guest.
@pytest.hookimpl(tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> None:
    watching.discard_spoilt(item.config)


# For a test whose teardown pytest did not run, such as after an interruption.
@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    watching.discard_spoilt(session.config)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Have a failure's report show the test's own lines, not this package's."""
    if call.excinfo:
        repeating.note(item, call.excinfo.value)
        watching.note(item, call.excinfo.value)
    if call.excinfo is None or options.has_full_trace(item.config):
        return (yield)
    if call.when == "teardown":  # watching.attend() does so for the other phases
        tracebacks.forget_cause(call.excinfo.value)
    tracebacks.shorten(call.excinfo)
    report = yield
    tracebacks.place(report, call.excinfo.value)
    return report


# ---- the end of the run ----


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    repeating.summarize(terminalreporter)
