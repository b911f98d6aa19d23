# SPDX-License-Identifier: GPL-2.0
"""The pytest plugin: guests, modules and who acts there, as fixtures of any project's tests.

It comes with the package; ``docs/plugin.md`` says how to use it. A test that
asks for a guest shares one with others, whose kernel may not complain of
anything meanwhile; where it does, or a test fails, the next one has another.
"""

import json
import os
import re
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from pyharness import accel, guests, kernels, machines, remote, vagrant
from pyharness.agent import Actor
from pyharness.errors import GuestCrashed, GuestError, HarnessError, UsageError
from pyharness.guest import Guest
from pyharness.guests import DEFAULT_GUEST, GuestSpec
from pyharness.kmsg import Record
from pyharness.lab import Lab, Visit, with_cpus
from pyharness.module import LoadedModule
from pyharness.progress import Terminal
from pyharness.report import Report

VAGRANT = "vagrant"
_NAME = 200  # characters of an artifact's name
_LAB = pytest.StashKey[Lab]()
_VISIT = pytest.StashKey[Visit]()


# ---- options and markers ----


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("pyharness", "kernel modules in guests")
    group.addoption(
        "--guest", metavar="NAME", help="which guest (pyharness list), or vagrant: the one it runs"
    )
    group.addoption("--module", metavar="DIR", help="the folder of the module that is tested")
    group.addoption(
        "--accel", choices=("kvm", "tcg"), help="how the guest runs, which is otherwise found out"
    )
    group.addoption(
        "--ssh", metavar="HOST:PORT", help="a guest of which nothing else is known, instead"
    )
    group.addoption("--ssh-user", default="root", metavar="USER", help="who enters it by --ssh")
    group.addoption("--ssh-key", metavar="FILE", help="the private key for --ssh")
    group.addoption(
        "--artifacts",
        default="artifacts",
        metavar="DIR",
        help="where what came out of the serial console during each test is kept",
    )
    group.addoption("--report", metavar="FILE", help="write a report for programs, as JSON")
    parser.addini(
        "guest",
        "the guest of this project's tests, or default; it is made ready before workers start",
    )
    parser.addini("module", "the folder of the module that is tested", default="module")


def pytest_configure(config: pytest.Config) -> None:
    for marker in (
        "cpus(n): the guest has so many CPUs",
        "console: reads the guest's serial console",
        "fresh_guest: the guest is the test's own, as it was right after its boot",
        "architecture(*names): for guests of these alone, as Debian names them",
        "kernel(*wanted): for kernels alone that are so, such as '>=6.1', '<7'",
    ):
        config.addinivalue_line("markers", marker)
    if option := config.getoption("accel"):
        os.environ[accel.NAMED] = option
    if config.getoption("report") and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Reporter(config))


# ---- which guest ----


@dataclass(frozen=True)
class Place:
    """Where tests run.

    Attributes:
        spec: the guest's description; of one known by SSH alone, what it was found to be.
        told: what it is, for a person.
        enter: gives the guest that tests share.
        release: of its kernel, if others like it can't be started.
    """

    spec: GuestSpec
    told: str
    enter: Callable[[], Guest]
    release: str = ""

    @property
    def boots(self) -> bool:
        """Whether others like it can be started."""
        return not self.release


_PLACE = pytest.StashKey[Place]()


def place_of(config: pytest.Config) -> Place:
    """Where this run's tests run, found out once.

    Raises:
        pytest.UsageError: that can't be had.
    """
    if _PLACE not in config.stash:
        with _told():
            config.stash[_PLACE] = _find_place(config)
    return config.stash[_PLACE]


@contextmanager
def _told() -> Iterator[None]:
    """Have pytest say in a sentence what keeps it from running tests."""
    try:
        yield
    except HarnessError as error:
        raise pytest.UsageError(f"pyharness: {error}") from error


def _find_place(config: pytest.Config) -> Place:
    named, ini = config.getoption("guest"), config.getini("guest")
    if config.getoption("ssh"):
        key = config.getoption("ssh_key")
        return _elsewhere(
            config,
            remote.parse(
                config.getoption("ssh"),
                user=config.getoption("ssh_user"),
                key=Path(key) if key else None,
            ),
        )
    if named == VAGRANT or (not named and vagrant.is_likely(config.rootpath)):
        try:
            return _vagrants(config, vagrant.find(config.rootpath))
        except HarnessError:
            if named:
                raise
    spec = guests.find(named or (ini if ini and ini != "default" else DEFAULT_GUEST))
    return Place(spec, "", lambda: Guest.boot(spec.name))


def _elsewhere(config: pytest.Config, address: remote.Address) -> Place:
    """A guest that is known by SSH alone."""
    _alone(config, f"{address} is one guest")
    with remote.enter(address) as guest:
        spec, release = guest.frozen.spec, guest.frozen.image.release
    return Place(spec, "known by SSH alone", lambda: remote.enter(address), release)


def _vagrants(config: pytest.Config, box: vagrant.Box) -> Place:
    """The guest that Vagrant runs."""
    _alone(config, "Vagrant runs one guest")
    if box.guest is None:
        return replace(_elsewhere(config, box.address), told="Vagrant's, known by SSH alone")
    name = box.guest
    return Place(guests.find(name), "the one that Vagrant runs", lambda: Guest.attach(name))


def _alone(config: pytest.Config, why: str) -> None:
    if config.getoption("numprocesses", None) or hasattr(config, "workerinput"):
        raise UsageError(f"{why}, which workers can't share: without pytest -n")


def make_ready(config: pytest.Config, *cpus: int) -> None:
    """Make images and saved states before the first test, where one can see that it lasts.

    Args:
        config: of this run.
        cpus: with how many CPUs the guest is wanted, 0 for as many as usual.
    """
    place = place_of(config)
    if place.boots:
        capture = config.pluginmanager.getplugin("capturemanager")
        with _told(), capture.global_and_fixture_disabled():
            for number in cpus or (0,):
                machines.freeze(with_cpus(place.spec.name, number), teller=Terminal())


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """Where it is known that a guest is wanted: find it.

    With workers (pytest -n) also make it ready before they start, as what they
    tell is not seen.
    """
    config = session.config
    if any((config.getini("guest"), config.getoption("guest"), config.getoption("ssh"))):
        place_of(config)
        if config.getoption("numprocesses", None) and not config.option.collectonly:
            make_ready(config)


def needs_guest(item: pytest.Item) -> bool:
    """Whether a test asks for a guest."""
    return "guest" in getattr(item, "fixturenames", ())


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is not for this guest; nothing is booted just to list tests."""
    if config.option.collectonly or not any(map(needs_guest, items)):
        return
    place = place_of(config)
    if any(item.get_closest_marker("kernel") for item in items):
        make_ready(config)
    with _told():
        others = [item for item in items if needs_guest(item) and not is_for(item, place)]
    config.hook.pytest_deselected(items=others)
    items[:] = [item for item in items if item not in others]


def is_for(item: pytest.Item, place: Place) -> bool:
    """Whether a test is for the guest of this run."""
    architecture = item.get_closest_marker("architecture")
    if architecture and place.spec.architecture not in architecture.args:
        return False
    if not place.boots and any(map(item.get_closest_marker, ("cpus", "fresh_guest", "console"))):
        return False
    kernel = item.get_closest_marker("kernel")
    return kernel is None or kernels.fits(release_of(place), kernel.args)


def release_of(place: Place) -> str:
    """The release of the guest's kernel; it has been made ready."""
    return place.release or machines.freeze(place.spec).image.release


def pytest_report_header(config: pytest.Config) -> str | None:
    """The line about the guest, where workers will collect the tests."""
    early = _PLACE in config.stash and config.getoption("numprocesses", None)
    return f"guest: {describe(config)}" if early and not config.option.collectonly else None


def pytest_collection_finish(session: pytest.Session) -> None:
    wanting = [item for item in session.items if needs_guest(item)]
    if wanting and not session.config.option.collectonly:
        make_ready(session.config, *sorted({_cpus_of(item) for item in wanting}))


def pytest_report_collectionfinish(
    config: pytest.Config, items: list[pytest.Item]
) -> list[str] | None:
    """Likewise, once it's sure that a guest is wanted, and known how it runs."""
    if not any(map(needs_guest, items)) or config.option.collectonly:
        return None
    return [f"guest: {describe(config)}"]


def describe(config: pytest.Config) -> str:
    """The guest of this run, its kernel, and its accelerator."""
    place = place_of(config)
    if place.boots:
        frozen = machines.freeze(place.spec)
        how = f"{frozen.accel.name} ({frozen.accel.reason})"
    else:
        how = "accelerator unknown"
    said = f"{place.spec.name}, kernel {release_of(place)}, {how}"
    return f"{said}, {place.told}" if place.told else said


# ---- what a test does there ----


def _cpus_of(item: pytest.Item) -> int:
    marker = item.get_closest_marker("cpus")
    return int(marker.args[0]) if marker else 0


def attend(item: pytest.Item) -> Generator[None, object, object]:
    """Look after the guest when a test begins and runs: what its kernel says outranks the test.

    A guest in which a test failed can't be trusted: it's thrown away, the next test has another.
    """
    result, error = None, None
    try:
        result = yield
    except BaseException as raised:  # a test's outcome, whatever it is
        error = raised
    visit = item.stash.get(_VISIT, None)
    if visit is not None:
        try:
            visit.examine()
        except GuestError as trouble:
            if not isinstance(error, GuestCrashed):
                trouble.__cause__ = error
                error = trouble
        console = keep_console(item, visit)
        if error is not None:
            item.add_report_section("call", "kernel log of this test", log_of(visit))
            item.add_report_section("call", "console of this test", console)
            del item.stash[_VISIT]
            item.config.stash[_LAB].discard(visit.guest)
    if error is not None:
        raise error
    return result


def log_of(visit: Visit) -> str:
    """The kernel log of a test, as far as it can still be read."""
    try:
        return "\n".join(f"{r.microseconds / 1e6:12.6f} {r.text}" for r in visit.records())
    except GuestError:
        return "it can't be read any more; see the console"


def keep_console(item: pytest.Item, visit: Visit) -> str:
    """Keep what came out of the serial console during a test, and return it."""
    text = visit.console_text()
    folder = Path(item.config.getoption("artifacts"))
    folder.mkdir(parents=True, exist_ok=True)
    name = re.sub(r"[^\w.-]+", "-", item.nodeid).strip("-")[:_NAME]
    path = folder / f"{name}.console.log"
    path.write_text(text, encoding="utf-8")
    recorded = ("console", str(path))
    if recorded not in item.user_properties:
        item.user_properties.append(recorded)
    return text


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, object, object]:
    return (yield from attend(item))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    return (yield from attend(item))


# ---- fixtures ----


@pytest.fixture(scope="session")
def lab(pytestconfig: pytest.Config) -> Iterator[Lab]:
    """The guests that tests share."""
    place = place_of(pytestconfig)
    shared = Lab(place.enter, place.spec.name, boots=place.boots)
    pytestconfig.stash[_LAB] = shared
    yield shared
    shared.close()


@pytest.fixture
def guest(request: pytest.FixtureRequest, lab: Lab) -> Iterator[Guest]:
    """The guest; its kernel may not complain of anything during a test."""
    cpus = _cpus_of(request.node)
    fresh = request.node.get_closest_marker("fresh_guest")
    entered = lab.fresh(cpus) if fresh else lab.guest(cpus)
    visit = request.node.stash[_VISIT] = Visit.begin(entered)
    yield entered
    if _VISIT not in request.node.stash:
        return
    try:
        entered.dismiss()
        visit.examine()
    except GuestError:
        lab.discard(entered)
        raise
    if fresh:
        entered.close()


@pytest.fixture(scope="session")
def module_folder(pytestconfig: pytest.Config) -> Path:
    """The folder of the module that is tested."""
    named = pytestconfig.getoption("module")
    return Path(named) if named else pytestconfig.rootpath / pytestconfig.getini("module")


@pytest.fixture(scope="session")
def module_parameters() -> dict[str, str | int]:
    """What the module is loaded with; for a project to say otherwise."""
    return {}


@pytest.fixture
def module(
    guest: Guest, module_folder: Path, module_parameters: dict[str, str | int]
) -> Iterator[LoadedModule]:
    """The module, built and loaded for the test, and unloaded after it."""
    loaded = guest.insert(module_folder, **module_parameters)
    yield loaded
    if not guest.closed and guest.is_loaded(loaded.name):
        guest.dismiss()  # who may have something of the module's open
        loaded.unload()


@pytest.fixture
def root(guest: Guest) -> Actor:
    """A process of root's that does what it's told."""
    return guest.actor("root")


@pytest.fixture
def nobody(guest: Guest) -> Actor:
    """A process of nobody's that does what it's told."""
    return guest.actor("nobody")


@pytest.fixture
def actor(guest: Guest) -> Callable[[str], Actor]:
    """Starts processes that do what they are told, of the user that is named."""
    return guest.actor


@pytest.fixture
def kernel_log(request: pytest.FixtureRequest, guest: Guest) -> Callable[[], list[Record]]:
    """Gives what the kernel has logged since the test began."""
    visit: Visit = request.node.stash[_VISIT]
    assert visit.guest is guest
    return visit.records


# ---- the report ----


class Reporter:
    """Writes the report; with workers, the process that they report to does."""

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
            properties=dict(report.user_properties),
        )

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self) -> None:
        place = self._config.stash.get(_PLACE, None)
        guest = None
        if place:
            guest = {
                "name": place.spec.name,
                "architecture": place.spec.architecture,
                "kernel": release_of(place),
                "told": describe(self._config),
            }
        target = Path(self._config.getoption("report"))
        target.parent.mkdir(parents=True, exist_ok=True)
        whole = self._report.as_json(guest, time.time())
        target.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")


def _message(report: pytest.TestReport) -> str:
    if report.passed:
        return ""
    crash = getattr(report.longrepr, "reprcrash", None)
    return str(crash.message if crash else report.longrepr)
