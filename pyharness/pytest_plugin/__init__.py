# SPDX-License-Identifier: GPL-2.0
"""The pytest plugin: fixtures for guests, kernel modules and actors, for any project.

``docs/plugin.md`` describes it. Tests share a guest. If a test fails, or the kernel reports
trouble during it, the guest is discarded, and the next test gets another.
"""

import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from pyharness.errors import GuestCrashed, GuestError, HarnessError, UsageError
from pyharness.guest import ssh_backend
from pyharness.guest.actor import Actor
from pyharness.guest.guest import Guest
from pyharness.guest.kernel_log import KernelLogOfTest
from pyharness.guest.loaded import LoadedModule
from pyharness.guest.module_source import ModuleSource
from pyharness.guest.pool import GuestPool, with_cpus
from pyharness.host import writable
from pyharness.host.progress import TerminalProgress
from pyharness.linux import kernel_release
from pyharness.machine import accelerator, guest_specs, saved_states
from pyharness.machine.guest_specs import DEFAULT_GUEST, GuestSpec
from pyharness.machine.saved_states import SavedState
from pyharness.pytest_plugin import markers, root_folder, tracebacks, vagrant
from pyharness.pytest_plugin.guest_use import GuestUse
from pyharness.pytest_plugin.results import Report
from pyharness.transport import ssh_address
from pyharness.transport.ssh_address import Address

VAGRANT = "vagrant"
_NAME = 200  # characters of an artifact's name; file systems allow 255 for the whole name
_DIGEST = 8  # characters of the hash that makes names unique
# A test's node ID that needs no hash in the name of its artifact.
_PLAIN = re.compile(r"[\w./]+(::\w+)*", re.ASCII)
_LAB = pytest.StashKey[GuestPool]()
_VISIT = pytest.StashKey[GuestUse]()
_SPOILT = pytest.StashKey[list[Guest]]()  # guests in which tests failed


# ---- options and markers ----

_OPTIONS: dict[str, dict[str, Any]] = {
    "--guest": {
        "metavar": "NAME",
        "help": "the guest to run the tests in (pyharness list), or vagrant: the guest that"
        " Vagrant runs",
    },
    "--module": {"metavar": "DIR", "help": "the folder of the module to test"},
    "--accel": {
        "choices": ("kvm", "tcg"),
        "help": "how to run the guest: by KVM, or by QEMU's emulation, TCG (default: KVM if it"
        " works here)",
    },
    "--ssh": {
        "metavar": "HOST[:PORT]",
        "help": "run the tests in a machine that is known by SSH alone, instead of a guest",
    },
    "--ssh-user": {
        "metavar": "USER",
        "help": "the user for --ssh (default: as ssh has it); others than root need sudo without a"
        " password",
    },
    "--ssh-key": {"metavar": "FILE", "help": "the private key for --ssh"},
    "--artifacts": {
        "metavar": "DIR",
        "help": "the folder to keep each test's console output in (default: artifacts)",
    },
    "--results": {"metavar": "FILE", "help": "write a report of the run to FILE, as JSON"},
}
# pytest's options that list tests or fixtures and run nothing, by their names in its namespace.
_LISTS = ("collectonly", "showfixtures", "show_fixtures_per_test", "setupplan")
_MARKERS = (
    "cpus(number): give the test a guest with this number of CPUs",
    "console: run the test only where the guest's serial console can be read",
    "fresh_guest: give the test a guest of its own, as it was right after its boot",
    "architecture(*names): run the test only in guests of these architectures, named as Debian"
    " does: 'i386', 'amd64', 'arm64'",
    "kernel(*conditions): run the test only on kernels that meet all conditions, such as '>=6.1',"
    " '<7'",
    "expects_warning(*patterns): the kernel has to warn (WARN_ON and the like) during the test,"
    " once or more for each regular expression; any other report of the kernel fails it",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("pyharness", "kernel modules in guests (write --option=value)")
    for name, described in _OPTIONS.items():
        group.addoption(name, **described)
    parser.addini(
        "guest",
        "the guest to run this project's tests in, or 'default'; with pytest -n it is made ready"
        " before the workers start",
    )
    parser.addini("module", "the folder of the module to test (default: module)", default="")
    parser.addini("module_name", "which module to test, if the folder builds several", default="")


def pytest_configure(config: pytest.Config) -> None:
    for marker in _MARKERS:
        config.addinivalue_line("markers", marker)
    if option := config.getoption("accel"):
        os.environ[accelerator.ENV_VAR] = option
    if config.getoption("results") and not is_worker(config):
        config.pluginmanager.register(Reporter(config))


def is_worker(config: pytest.Config) -> bool:
    """Return whether this process is a worker of pytest-xdist."""
    return hasattr(config, "workerinput")


def only_lists(config: pytest.Config) -> bool:
    """Return whether this run only lists tests or fixtures."""
    return any(getattr(config.option, name, False) for name in _LISTS)


def check_options(config: pytest.Config) -> None:
    """Check the options that concern all tests.

    Raises:
        pytest.UsageError: one has a wrong value.
    """
    root_folder.check(config, _OPTIONS)
    with _as_usage_error():
        if config.getoption("module") or config.getini("module"):
            ModuleSource(module_folder_of(config))
        if config.getoption("artifacts"):
            writable.can_make_folder(artifacts_of(config), "--artifacts")
        if report := config.getoption("results"):
            writable.can_write(absolute(config, report), "--results")


def absolute(config: pytest.Config, path: str | Path) -> Path:
    """Resolve a path of the command line, against the folder in which pytest was started.

    A test may have changed the working directory since.
    """
    return config.invocation_params.dir / path


def artifacts_of(config: pytest.Config) -> Path:
    """Return the folder for the files with the serial console's output."""
    return absolute(config, config.getoption("artifacts") or "artifacts")


def module_folder_of(config: pytest.Config) -> Path:
    """Return the folder of the module to test, according to options and configuration."""
    named = config.getoption("module")
    return (
        absolute(config, named)
        if named
        else config.rootpath / (config.getini("module") or "module")
    )


# ---- which guest ----


@dataclass(frozen=True)
class Target:
    """The guest on which the tests of a run are executed.

    Attributes:
        spec: the guest's description. For a guest that is known by SSH alone, it is made from
            what the guest answered.
        description: what kind of guest it is, for the line about the guest; may be empty.
        enter: starts, or connects to, the guest that tests share.
        release: the release of its kernel, if no other guests like it can be started; otherwise
            empty.
    """

    spec: GuestSpec
    description: str
    enter: Callable[[], Guest]
    release: str = ""

    @property
    def boots(self) -> bool:
        """Whether more guests like it can be started."""
        return not self.release


_TARGET = pytest.StashKey[Target]()


def target_of(config: pytest.Config) -> Target:
    """Return the target of this run, which is determined on first use.

    Raises:
        pytest.UsageError: the options or the configuration name no usable guest.
    """
    if _TARGET not in config.stash:
        with _as_usage_error():
            config.stash[_TARGET] = _find_target(config)
    return config.stash[_TARGET]


@contextmanager
def _as_usage_error() -> Iterator[None]:
    """Turn this package's errors into usage errors, which pytest shows without a traceback."""
    try:
        yield
    except HarnessError as error:
        raise pytest.UsageError(f"pyharness: {error}") from error


def _find_target(config: pytest.Config) -> Target:
    named, ini = config.getoption("guest"), config.getini("guest")
    if config.getoption("ssh"):
        key = config.getoption("ssh_key")
        return _elsewhere(
            config,
            ssh_address.parse(
                config.getoption("ssh"),
                user=config.getoption("ssh_user"),
                key=absolute(config, Path(key).expanduser()) if key else None,
            ),
        )
    if named == VAGRANT or (not named and vagrant.is_likely(config.rootpath)):
        try:
            return _vagrants(config, vagrant.find(config.rootpath))
        except HarnessError:
            if named:
                raise
    spec = guest_specs.find(named or (ini if ini and ini != "default" else DEFAULT_GUEST))
    return Target(spec, "", lambda: Guest.boot(spec.name))


def _elsewhere(config: pytest.Config, address: Address) -> Target:
    """Return a target that is known by SSH alone, after connecting to it once."""
    _alone(config, f"{address} is one guest")
    with ssh_backend.enter(address) as guest:
        spec, release = guest.qemu.saved_state.spec, guest.facts.release
    return Target(spec, "known by SSH alone", lambda: ssh_backend.enter(address), release)


def _vagrants(config: pytest.Config, box: vagrant.Box) -> Target:
    """Return the target for the guest that Vagrant runs."""
    _alone(config, "Vagrant runs one guest")
    if box.guest is None:
        return replace(_elsewhere(config, box.address), description="Vagrant's, known by SSH alone")
    name = box.guest
    return Target(guest_specs.find(name), "the one that Vagrant runs", lambda: Guest.attach(name))


def _alone(config: pytest.Config, why: str) -> None:
    if config.getoption("numprocesses", None) or is_worker(config):
        raise UsageError(f"{why}, which workers can't share: without pytest -n")


_READY = pytest.StashKey[SavedState]()


def make_ready(config: pytest.Config, *cpus: int) -> None:
    """Make images and saved states before the first test, and show the progress.

    It does nothing for a target of which no more guests can be started.

    Args:
        config: the configuration of this run.
        *cpus: the numbers of CPUs for which guests are needed; 0, as by default: as many as
            usual.
    """
    target = target_of(config)
    if target.boots:
        capture = config.pluginmanager.getplugin("capturemanager")
        with _as_usage_error(), capture.global_and_fixture_disabled():
            for number in cpus or (0,):
                spec = with_cpus(target.spec.name, number)
                config.stash[_READY] = saved_states.ensure(spec, progress=TerminalProgress())


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """Check the options; determine the target if options or configuration name a guest.

    With workers (pytest -n), also make the guest ready before they start, because their progress
    is not shown.
    """
    config = session.config
    if not is_worker(config) and not only_lists(config):
        check_options(config)
    if any((config.getini("guest"), config.getoption("guest"), config.getoption("ssh"))):
        target_of(config)
        if config.getoption("numprocesses", None) and not only_lists(config):
            make_ready(config)


def needs_guest(item: pytest.Item) -> bool:
    """Return whether a test uses the fixture ``guest``, itself or through another fixture."""
    return "guest" in getattr(item, "fixturenames", ())


_USAGE_ERROR = "pyharness_usage_error"


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Generator[None, object, object]:
    """Pass a worker's usage error to the main process.

    pytest-xdist would show an internal error instead.
    """
    try:
        return (yield)
    except pytest.UsageError as error:
        if is_worker(session.config):
            session.config.workeroutput[_USAGE_ERROR] = str(error)  # type: ignore[attr-defined]
        raise


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Raise a worker's usage error in the main process, which shows it."""
    if said := getattr(node, "workeroutput", {}).get(_USAGE_ERROR):
        raise pytest.UsageError(said)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Check the markers, and deselect the tests that are not for this run's guest.

    A run that only lists tests skips this, so that no guest is booted for it.
    """
    if only_lists(config):
        return
    for item in items:
        markers.check(item, uses_guest=needs_guest(item))
    if not any(map(needs_guest, items)):
        return
    if any(item.get_closest_marker("kernel") for item in items):
        make_ready(config)
    with _as_usage_error():
        others = [item for item in items if needs_guest(item) and not is_for(item, config)]
    config.hook.pytest_deselected(items=others)
    items[:] = [item for item in items if item not in others]


def is_for(item: pytest.Item, config: pytest.Config) -> bool:
    """Return whether the markers of a test allow the guest of this run."""
    target = target_of(config)
    architecture = item.get_closest_marker("architecture")
    if architecture and target.spec.architecture not in architecture.args:
        return False
    if not target.boots and any(map(item.get_closest_marker, ("cpus", "fresh_guest", "console"))):
        return False
    kernel = item.get_closest_marker("kernel")
    return kernel is None or kernel_release.matches(release_of(config), kernel.args)


def release_of(config: pytest.Config) -> str:
    """Return the release of the guest's kernel; is_known() must be true."""
    return target_of(config).release or config.stash[_READY].image.release


def is_known(config: pytest.Config) -> bool:
    """Return whether enough is known about this run's guest to describe it."""
    return _READY in config.stash or (_TARGET in config.stash and not target_of(config).boots)


def pytest_report_header(config: pytest.Config) -> str | None:
    """Return the line about the guest, if workers collect the tests and it is known already."""
    early = config.getoption("numprocesses", None) and is_known(config)
    return f"guest: {describe(config)}" if early and not only_lists(config) else None


# This has to run before the hook of pytest's terminal, which asks for the line about the guest.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    """Check the folders, and make the guests ready, that the collected tests need."""
    config = session.config
    wanting = [item for item in session.items if needs_guest(item)]
    if not wanting or only_lists(config):
        return
    with _as_usage_error():
        writable.can_make_folder(artifacts_of(config), "--artifacts")
        if any(map(takes_module_folder, wanting)):
            ModuleSource(module_folder_of(config))
    make_ready(config, *sorted({markers.cpus_of(item) for item in wanting}))


def takes_module_folder(item: pytest.Item) -> bool:
    """Return whether a test uses this plugin's fixture ``module_folder``, not an override of it."""
    known = getattr(getattr(item, "_fixtureinfo", None), "name2fixturedefs", {})
    found = known.get("module_folder", ())
    return bool(found) and getattr(found[-1].func, "__module__", "") == __name__


def pytest_report_collectionfinish(
    config: pytest.Config, items: list[pytest.Item]
) -> list[str] | None:
    """Return the line about the guest, if this process collects the tests and they need one."""
    if not any(map(needs_guest, items)) or only_lists(config):
        return None
    return [f"guest: {describe(config)}"]


def describe(config: pytest.Config) -> str:
    """Describe the guest of this run, its kernel and its accelerator in one line."""
    target = target_of(config)
    if target.boots:
        saved_state = config.stash[_READY]
        how = f"{saved_state.accel.name} ({saved_state.accel.reason})"
    else:
        how = "accelerator unknown"
    said = f"{target.spec.name}, kernel {release_of(config)}, {how}"
    return f"{said}, {target.description}" if target.description else said


# ---- setup, call and teardown ----


def attend(item: pytest.Item, *, ends: bool) -> Generator[None, object, object]:
    """Check the guest's kernel after a phase of a test, as a hook wrapper.

    Trouble that the kernel reported replaces the test's own result. A guest in which a test
    failed can't be trusted: it is marked to be discarded, and the next test gets another.

    Args:
        item: the test.
        ends: whether each warning that the test expects must have occurred by the end of this
            phase.
    """
    result, error = None, None
    try:
        result = yield
    except BaseException as raised:  # a failure, a skip, or an interruption
        error = raised
        simplify(item, error)
    visit = item.stash.get(_VISIT, None)
    if visit is not None:
        try:
            visit.examine()
            if ends and error is None:
                visit.expect_all()
        except HarnessError as trouble:
            if not isinstance(error, GuestCrashed):
                simplify(item, trouble)
                trouble.__cause__ = error
                error = trouble
        console = keep_console(item, visit)
        if error is not None and not isinstance(error, pytest.skip.Exception):
            item.add_report_section("call", "kernel log of this test", log_of(visit))
            item.add_report_section("call", "console of this test", console)
            del item.stash[_VISIT]
            item.config.stash.setdefault(_SPOILT, []).append(visit.guest)
    if error is not None:
        raise error
    return result


def simplify(item: pytest.Item, error: BaseException) -> None:
    """Hide the cause of an error that this package raised on purpose, except with --full-trace."""
    if not item.config.getoption("fulltrace"):
        tracebacks.forget_cause(error)


def log_of(visit: GuestUse) -> str:
    """Return the kernel log of a test as text, or a note that it can't be read."""
    try:
        return "\n".join(f"{r.microseconds / 1e6:12.6f} {r.text}" for r in visit.records())
    except GuestError:
        return "it can't be read any more; see the console"


def console_name(test: str) -> str:
    """Return the name of the file for a test's console output, unique to its node ID."""
    name = re.sub(r"[^\w.]+", "-", test, flags=re.ASCII).strip("-")
    if len(name) > _NAME or not _PLAIN.fullmatch(test):
        digest = hashlib.sha256(test.encode(errors="surrogatepass")).hexdigest()
        name = f"{name[:_NAME]}-{digest[:_DIGEST]}"
    return f"{name}.console.log"


def keep_console(item: pytest.Item, visit: GuestUse) -> str:
    """Write the serial console's output during a test to a file, and return it."""
    text = visit.console_text()
    folder = artifacts_of(item.config)
    if not folder.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        # Has git, and the search for the module's source, ignore the folder.
        (folder / ".gitignore").write_text("*\n", encoding="ascii")
    path = folder / console_name(item.nodeid)
    path.write_text(text, encoding="utf-8")
    invoked = item.config.invocation_params.dir
    recorded = ("console", str(path.relative_to(invoked) if path.is_relative_to(invoked) else path))
    if recorded not in item.user_properties:
        item.user_properties.append(recorded)
    return text


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, object, object]:
    return (yield from attend(item, ends=False))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    return (yield from attend(item, ends=True))


# Runs before the teardown of fixtures, but after the debugger of --pdb, which needs the guest.
@pytest.hookimpl(tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> None:
    discard_spoilt(item.config)


# For a test whose teardown pytest did not run, such as after an interruption.
@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    discard_spoilt(session.config)


def discard_spoilt(config: pytest.Config) -> None:
    """End the guests in which tests failed."""
    spoilt = config.stash.get(_SPOILT, [])
    while spoilt:
        config.stash[_LAB].discard(spoilt.pop())


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Have a failure's report show the test's own lines, not this package's."""
    if call.excinfo is None or item.config.getoption("fulltrace"):
        return (yield)
    if call.when == "teardown":  # attend() does so for the other phases
        tracebacks.forget_cause(call.excinfo.value)
    tracebacks.shorten(call.excinfo)
    report = yield
    tracebacks.place(report, call.excinfo.value)
    return report


# ---- fixtures ----


@pytest.fixture(scope="session")
def lab(pytestconfig: pytest.Config) -> Iterator[GuestPool]:
    """The pool of the guests that the tests of this run share."""
    target = target_of(pytestconfig)
    shared = GuestPool(target.enter, target.spec.name, boots=target.boots)
    pytestconfig.stash[_LAB] = shared
    yield shared
    shared.close()


@pytest.fixture
def guest(request: pytest.FixtureRequest, lab: GuestPool) -> Iterator[Guest]:
    """A running guest, shared by tests; a report of trouble by its kernel fails the test."""
    cpus = markers.cpus_of(request.node)
    fresh = request.node.get_closest_marker("fresh_guest")
    entered = lab.fresh(cpus) if fresh else lab.guest(cpus)
    visit = request.node.stash[_VISIT] = GuestUse.begin(entered, markers.expected_of(request.node))
    yield entered
    if _VISIT not in request.node.stash:
        return
    try:
        entered.dismiss()
        visit.examine()
        warned = visit.has_warned()
    except GuestError:
        lab.discard(entered)
        raise
    if fresh:
        entered.close()
    elif warned:  # its kernel is tainted, and a WARN_ONCE() would not warn again
        lab.discard(entered)


@pytest.fixture(scope="session")
def module_folder(pytestconfig: pytest.Config) -> Path:
    """The folder of the module to test; a project may override it."""
    return module_folder_of(pytestconfig)


@pytest.fixture(scope="session")
def module_parameters() -> dict[str, str | int]:
    """The parameters to load the module with: none; a project may override it."""
    return {}


@pytest.fixture
def module(
    pytestconfig: pytest.Config,
    guest: Guest,
    module_folder: Path,
    module_parameters: dict[str, str | int],
) -> Iterator[LoadedModule]:
    """The module, built, and loaded for the test; it is unloaded after the test."""
    name = pytestconfig.getini("module_name")
    loaded = guest.load(module_folder, name, **module_parameters)
    yield loaded
    if not guest.closed and guest.is_loaded(loaded.name):
        guest.dismiss()  # an actor may have a file of the module open
        loaded.unload()


@pytest.fixture
def root(guest: Guest) -> Actor:
    """A process of root in the guest, which issues system calls for the test."""
    return guest.actor("root")


@pytest.fixture
def nobody(guest: Guest) -> Actor:
    """A process of nobody in the guest, which issues system calls for the test."""
    return guest.actor("nobody")


@pytest.fixture
def actor(guest: Guest) -> Callable[[str], Actor]:
    """A function that starts a process in the guest, of the user whose name it is given."""
    return guest.actor


@pytest.fixture
def kernel_log(request: pytest.FixtureRequest, guest: Guest) -> KernelLogOfTest:
    """A function that returns what the kernel has logged since the test began."""
    visit: GuestUse = request.node.stash[_VISIT]
    assert visit.guest is guest
    return visit.records


# ---- the results ----


class Reporter:
    """Writes the results of a run to the file of --results; only the main process has one."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._report = Report(time.time())

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._report.add(
            report.nodeid,
            report.when or "call",
            report.outcome,
            seconds=report.duration,
            message=_message(report),
            properties={str(name): value for name, value in report.user_properties},
        )

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self._report.add(
                report.nodeid, "collect", report.outcome, seconds=0.0, message=_message(report)
            )

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        guest = None
        if is_known(self._config):
            spec = target_of(self._config).spec
            guest = {
                "name": spec.name,
                "architecture": spec.architecture,
                "kernel": release_of(self._config),
                "description": describe(self._config),
            }
        target = absolute(self._config, self._config.getoption("results"))
        target.parent.mkdir(parents=True, exist_ok=True)
        whole = self._report.as_json(guest, time.time(), int(session.exitstatus))
        target.write_text(json.dumps(whole, indent=1, default=str) + "\n", encoding="utf-8")


def _message(report: pytest.TestReport | pytest.CollectReport) -> str:
    if report.passed:
        return ""
    crash = getattr(report.longrepr, "reprcrash", None)
    return str(crash.message if crash else report.longrepr)
