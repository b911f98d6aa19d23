# SPDX-License-Identifier: GPL-2.0
"""The guest that tests share, and the module in it, as each test expects to find them."""

import hashlib
import os
import re
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path

import broken
import pytest

import pyharness
from pyharness import Actor, Guest, Module, abi, accel, guests, machines, oops
from pyharness.errors import GuestCrashed, GuestError
from pyharness.guests import DEFAULT_GUEST, GuestSpec
from pyharness.progress import Terminal

PROGRAMS = Path(__file__).parent / "programs"
_NAME = 200  # characters of an artifact's name


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "cpus(n): the guest has so many CPUs")
    config.addinivalue_line("markers", "architecture(*names): of guests that are of these")
    config.addinivalue_line("markers", "by_table: of the table way")
    os.environ["PYHARNESS_GUEST"] = config.getoption("guest")  # for the command line's own tests


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--guest", default=DEFAULT_GUEST, metavar="NAME", help="which guest (pyharness list)"
    )
    parser.addoption(
        "--way",
        default="auto",
        choices=("auto", "table", "handler"),
        help="how the module gets in between",
    )
    parser.addoption(
        "--artifacts",
        default="artifacts",
        metavar="DIR",
        help="where what came out of the serial console during each test is kept",
    )


def spec_of(config: pytest.Config) -> GuestSpec:
    return guests.find(config.getoption("guest"))


def pytest_report_header(config: pytest.Config) -> str:
    known = accel.quick_answer(spec_of(config))
    how = f"{known.name} ({known.reason})" if known else "accelerator to be found out"
    return f"guest: {spec_of(config).name}, {how}, way={config.getoption('way')}"


def freeze(config: pytest.Config) -> None:
    """Make image and saved state before the first test, where one can see that it lasts."""
    capture = config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        machines.freeze(spec_of(config), teller=Terminal())


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """With workers (pytest -n): before they start, as what they tell is not seen."""
    option = session.config.option
    if getattr(option, "numprocesses", None) and not option.collectonly:
        freeze(session.config)


def pytest_collection_finish(session: pytest.Session) -> None:
    wanted = any("guest" in getattr(item, "fixturenames", ()) for item in session.items)
    if wanted and not session.config.option.collectonly:
        freeze(session.config)


def is_by_table(config: pytest.Config) -> bool:
    """Whether the module replaces entries of the table in this run."""
    way = config.getoption("way")
    return bool((spec_of(config).way if way == "auto" else way) == "table")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is not for the guest's architecture, or the way that is used."""
    spec, table = spec_of(config), is_by_table(config)
    others = [
        item
        for item in items
        if (
            (only := item.get_closest_marker("architecture")) and spec.architecture not in only.args
        )
        or (item.get_closest_marker("by_table") and not table)
    ]
    config.hook.pytest_deselected(items=others)
    items[:] = dealt([item for item in items if item not in others])


def dealt(items: list[pytest.Item]) -> list[pytest.Item]:
    """Tests that last, evenly among the others, and none at the end, when nobody else has work.

    Otherwise the order stays what it is, random.
    """
    place: dict[pytest.Item, float] = {}
    for long, end in ((True, 0.8), (False, 1.0)):
        those = [item for item in items if is_long(item) == long]
        place |= {item: end * number / len(those) for number, item in enumerate(those)}
    return sorted(items, key=lambda item: place[item])


def is_long(item: pytest.Item) -> bool:
    """Whether a test is given more time than is usual."""
    limit = item.get_closest_marker("timeout")
    return limit is not None and limit.args[0] > float(item.config.getini("timeout"))


class Lab:
    """The guests that tests share, by their number of CPUs (0: as many as usual).

    One that crashed is thrown away, not mended. One that no test uses now is
    paused: under emulation even an idle one takes a fifteenth of a CPU.
    """

    def __init__(self, name: str, parameters: dict[str, str]) -> None:
        self._name = name
        self._parameters = parameters
        self._guests: dict[int, Guest] = {}
        self._modules: dict[int, Module] = {}

    def guest(self, cpus: int = 0) -> Guest:
        for other, resting in self._guests.items():
            if other != cpus:
                resting.pause()
        if cpus not in self._guests:
            self._guests[cpus] = pyharness.boot(self._name, cpus=cpus, memory=1024 * (cpus > 2))
        self._guests[cpus].resume()
        return self._guests[cpus]

    def module(self, cpus: int) -> Module:
        module = self._modules.get(cpus)
        if module is None or not self.guest(cpus).is_loaded(module.name):
            self._modules[cpus] = module = self.guest(cpus).load(
                pyharness.MODULE, **self._parameters
            )
        return module

    def unload(self, cpus: int) -> None:
        module = self._modules.pop(cpus, None)
        if module is not None and self.guest(cpus).is_loaded(module.name):
            module.unload()

    def discard(self, guest: Guest) -> None:
        for cpus in [cpus for cpus, known in self._guests.items() if known is guest]:
            self._modules.pop(cpus, None)
            self._guests.pop(cpus).close()

    def close(self) -> None:
        for guest in [*self._guests.values()]:
            self.discard(guest)


LAB = pytest.StashKey[Lab]()


@pytest.fixture(scope="session")
def parameters(pytestconfig: pytest.Config) -> dict[str, str]:
    """What the interceptor is loaded with."""
    return {"way": pytestconfig.getoption("way")}


@pytest.fixture(scope="session")
def by_table(pytestconfig: pytest.Config) -> bool:
    return is_by_table(pytestconfig)


@pytest.fixture(scope="session")
def lab(pytestconfig: pytest.Config, parameters: dict[str, str]) -> Iterator[Lab]:
    shared = pytestconfig.stash[LAB] = Lab(spec_of(pytestconfig).name, parameters)
    yield shared
    shared.close()


@dataclass
class Visit:
    """A test's use of a guest.

    Attributes:
        guest: the one that it uses.
        log: where the kernel log was when it began.
        console: likewise, the serial console.
    """

    guest: Guest
    log: int
    console: int


VISIT = pytest.StashKey[Visit]()


def cpus_of(request: pytest.FixtureRequest) -> int:
    marker = request.node.get_closest_marker("cpus")
    return int(marker.args[0]) if marker else 0


@pytest.fixture
def guest(request: pytest.FixtureRequest, lab: Lab) -> Iterator[Guest]:
    """The guest; its kernel may not complain of anything during a test."""
    entered = lab.guest(cpus_of(request))
    request.node.stash[VISIT] = Visit(entered, entered.log.mark(), console=entered.console_size())
    yield entered
    if visit := request.node.stash.get(VISIT, None):
        try:
            entered.dismiss()
            examine(visit)
        except GuestError:
            lab.discard(entered)
            raise


def examine(visit: Visit) -> None:
    """Make sure that the kernel is well, and was during the test.

    Raises:
        GuestCrashed: it isn't.
    """
    visit.guest.check_alive()
    said = "\n".join(record.text for record in visit.guest.log.since(visit.log))
    if oops.is_trouble(said):
        found = "\n".join(visit.guest.with_lines(str(report)) for report in oops.reports(said))
        raise GuestCrashed(
            f"the kernel of {visit.guest.describe()} complained",
            report=found,
            history=str(visit.guest.history),
        )


def attend(item: pytest.Item) -> Generator[None, object, object]:
    """Look after the guest when a test begins and runs: what its kernel says outranks the test.

    A guest in which a test failed can't be trusted: it's thrown away, the next test has another.
    """
    result, error = None, None
    try:
        result = yield
    except BaseException as raised:  # a test's outcome, whatever it is
        error = raised
    visit = item.stash.get(VISIT, None)
    if visit is not None:
        try:
            examine(visit)
        except GuestError as trouble:
            if not isinstance(error, GuestCrashed):
                trouble.__cause__ = error
                error = trouble
        console = keep_console(item, visit)
        if error is not None:
            item.add_report_section("call", "console of this test", console)
        if error is not None:
            del item.stash[VISIT]
            item.config.stash[LAB].discard(visit.guest)
    if error is not None:
        raise error
    return result


def keep_console(item: pytest.Item, visit: Visit) -> str:
    """Keep what came out of the serial console during a test, and return it."""
    text = visit.guest.console_text(visit.console)
    folder = Path(item.config.getoption("artifacts"))
    folder.mkdir(parents=True, exist_ok=True)
    name = re.sub(r"[^\w.-]+", "-", item.nodeid).strip("-")[:_NAME]
    (folder / f"{name}.console.log").write_text(text, encoding="utf-8")
    return text


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, object, object]:
    return (yield from attend(item))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    return (yield from attend(item))


@pytest.fixture
def bare_guest(request: pytest.FixtureRequest, lab: Lab, guest: Guest) -> Guest:
    """The guest without the module."""
    lab.unload(cpus_of(request))
    return guest


@pytest.fixture
def module(request: pytest.FixtureRequest, lab: Lab, guest: Guest) -> Iterator[Module]:
    """The module, loaded, with nothing intercepted before a test nor after it."""
    loaded = lab.module(cpus_of(request))
    yield loaded
    if VISIT in request.node.stash and guest.is_loaded(loaded.name):
        for number in loaded.status():
            loaded.release(number)
        assert not loaded.status()


@pytest.fixture
def root(guest: Guest) -> Actor:
    return guest.actor("root")


@pytest.fixture
def nobody(guest: Guest) -> Actor:
    return guest.actor("nobody")


@pytest.fixture(scope="session")
def number_of_syscalls(lab: Lab) -> int:
    """NR_syscalls of the guest's kernel, by its headers."""
    guest = lab.guest()
    arch = "arm64" if guest.frozen.spec.architecture == "arm64" else "x86"
    includes = " ".join(
        f"-I{tree}/{folder}{kind}"
        for kind in ("", "/generated", "/uapi", "/generated/uapi")
        for tree in ("build", "source")
        for folder in (f"arch/{arch}/include", "include")
    )
    found = guest.run(
        f"cd /lib/modules/$(uname -r) && expr $(echo NR_syscalls | gcc -E -P -nostdinc -D__KERNEL__"
        f" {includes} -include linux/kconfig.h -include asm/unistd.h - | tail -1 | tr '()' '  ')"
    )
    return int(found.check().stdout)


@pytest.fixture
def compiled(guest: Guest) -> Callable[..., str]:
    """Compiles a program of tests/programs in the guest; its path there."""

    def make(name: str, *flags: str) -> str:
        source = (PROGRAMS / f"{name}.c").read_bytes()
        where = f"/root/programs/{hashlib.sha256(source).hexdigest()[:16]}"
        if guest.run(["test", "-x", f"{where}/{name}"]).status:
            guest.run(["mkdir", "-p", where]).check()
            guest.put(source, f"{where}/{name}.c")
            guest.put((pyharness.MODULE / abi.HEADER).read_bytes(), f"{where}/{abi.HEADER}")
            flags = flags or ("-pthread",)
            line = f"gcc -O2 -Wall -Wextra -Werror {' '.join(flags)} -o {name} {name}.c"
            guest.run(f"cd {where} && {line}", seconds=60).check()
        return f"{where}/{name}"

    return make


@pytest.fixture
def broken_module(tmp_path: Path) -> Callable[[str, str, str], Path]:
    """Makes a copy of the module in which one file says something else."""

    def make(file: str, old: str, new: str) -> Path:
        return broken.write(tmp_path / "module", broken.Change(old, new, file))

    return make
