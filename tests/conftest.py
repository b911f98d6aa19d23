# SPDX-License-Identifier: GPL-2.0
"""The interceptor in the guest, as each test expects to find it, and what tests share."""

import hashlib
import math
import os
from collections.abc import Callable, Hashable, Iterator
from functools import cache
from pathlib import Path
from weakref import WeakKeyDictionary, WeakSet

import broken
import matrix
import pytest
from _pytest.terminal import TerminalReporter
from command_runner import Cli
from grace_periods import expedite
from sampling import sample

from pyharness import Guest, interceptor
from pyharness.guest.module_source import ModuleSource
from pyharness.guest.pool import GuestPool
from pyharness.interceptor import MODULE, Interceptor, peers
from pyharness.interceptor.interface import HEADER
from pyharness.interceptor.rules import kernel
from pyharness.machine import guest_specs
from pyharness.machine.guest_specs import GuestSpec
from pyharness.pytest_plugin import time_limit
from pyharness.pytest_plugin.options import artifacts_of
from pyharness.pytest_plugin.reporter import GUEST
from pyharness.pytest_plugin.target import Target, target_of, targets_of

TESTS = Path(__file__).parent
PROGRAMS = TESTS / "programs"

Modules = WeakKeyDictionary[Guest, Interceptor]


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "by_table: run the test only where the module intercepts by the table"
    )
    config.addinivalue_line("markers", "realtime: of kernels with PREEMPT_RT")
    config.addinivalue_line("markers", "tools: of guests that have tracers by the package")
    config.addinivalue_line("markers", "peers: of the guest with what the module is compared with")
    config.addinivalue_line("markers", "endurance: repeats at length what another test shows")
    config.addinivalue_line(
        "markers", "variants: of its parameters a share is tested with --soak below 1"
    )
    config.addinivalue_line("markers", "alone: starts guests of its own, by name")
    config.addinivalue_line("markers", "contract: all tests in tests/contract")
    config.addinivalue_line("markers", "smoke: tests of the harness that make test runs")


def positive(text: str) -> float:
    """The number of an option, if it is positive."""
    number = float(text)
    if not 0 < number < math.inf:
        raise ValueError(text)
    return number


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--method",
        action="append",
        choices=("auto", *matrix.METHODS),
        help="how the module intercepts; given twice, each test is run by each method that its"
        " guest has",
    )
    parser.addoption(
        "--matrix",
        choices=("full", *matrix.EXTENTS),
        help="run in each guest what tests/support/matrix.py has for it, or this extent in all,"
        " by each method of --method, or of the guest; print a table at the end",
    )
    parser.addoption(
        "--soak",
        type=positive,
        default=1.0,
        metavar="FACTOR",
        help="make tests that repeat something last this many times as long; below 1, leave out"
        " variants of others, too",
    )
    parser.addoption(
        "--part",
        type=positive,
        default=1.0,
        metavar="SHARE",
        help="run this share of each file's tests, other ones each time",
    )


def methods_of(config: pytest.Config) -> tuple[str, ...]:
    """The methods of this run."""
    usual = matrix.METHODS if config.getoption("matrix") else ("auto",)
    return tuple(config.getoption("method") or usual)


@cache  # asked for each test, and each answer reads vm/guests.toml
def spec_of(target: Target) -> GuestSpec:
    """The description of a target's guest; of another like it if somebody else runs it."""
    known = guest_specs.load()
    alike = (spec for spec in known.values() if spec.architecture == target.architecture)
    return known.get(target.name) or next(alike, known[guest_specs.DEFAULT_GUEST])


def is_by_table(target: Target, method: str) -> bool:
    """Whether the module replaces entries of the table."""
    return (spec_of(target).dispatch if method == "auto" else method) == "table"


@pytest.hookimpl(trylast=True)
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    methods = methods_of(metafunc.config)
    if "method" in metafunc.fixturenames and len(methods) > 1:
        metafunc.parametrize("method", methods, indirect=True, scope="session")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is not for its guest or method, or needs guests that can be started."""
    factor: float = config.getoption("soak")
    for item in items:
        if "contract" in item.path.parts:
            item.add_marker("contract")
        if factor > 1:
            limit = factor * time_limit.limit_of(item)
            item.add_marker(pytest.mark.test_limit(limit), append=False)
        if "method" in parameters_of(item):
            item.user_properties.append(("method", parameters_of(item)["method"]))
    left = in_short([item for item in items if is_for(item)], factor)
    left = chosen_of(left, lambda item: (item.path, *run_of(item)), config.getoption("part"))
    chosen = {*left}
    config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
    # A guest has the module loaded by one method after the other.
    items[:] = [
        item
        for method in (*methods_of(config), None)
        for item in dealt([item for item in left if parameters_of(item).get("method") == method])
    ]


def in_short(items: list[pytest.Item], factor: float) -> list[pytest.Item]:
    """Leave out variants of the same test where tests last a fraction of the usual time."""
    variants = [item for item in items if item.get_closest_marker("variants")]
    kept = chosen_of(variants, lambda item: (item.path, name_of(item), *run_of(item)), factor)
    left_out = {*variants} - {*kept}
    return [item for item in items if item not in left_out]


def chosen_of(
    items: list[pytest.Item], group: Callable[[pytest.Item], Hashable], share: float
) -> list[pytest.Item]:
    """Choose a share of each group of tests, in their order.

    The seed of pytest-randomly, which the header of a run has, chooses them: all workers of a run
    choose the same ones, and each run others.
    """
    seed = getattr(items[0].config.option, "randomly_seed", 0) if items else 0
    by_name = sorted(items, key=lambda item: item.nodeid)
    chosen = {*sample(by_name, group, min(share, 1), seed)}
    return [item for item in items if item in chosen]


def run_of(item: pytest.Item) -> tuple[str, object]:
    """In which guest a test is run, and by which method."""
    return target_of(item).name, parameters_of(item).get("method")


def parameters_of(item: pytest.Item) -> dict[str, object]:
    """The parameters of a test."""
    found: dict[str, object] = getattr(getattr(item, "callspec", None), "params", {})
    return found


def name_of(item: pytest.Item) -> str:
    """The name of a test's function."""
    return str(getattr(item, "originalname", item.name))


def is_for(item: pytest.Item) -> bool:
    """Whether a test is to be run."""
    target, several = target_of(item), methods_of(item.config)
    spec, marked = spec_of(target), item.get_closest_marker
    method = str(parameters_of(item).get("method", several[0]))
    chosen = item.config.getoption("matrix")
    if chosen and not matrix.is_in(
        matrix.extent_of(target.name, chosen), item.path.relative_to(TESTS), name_of(item)
    ):
        return False
    if len(several) > 1 and method != "auto" and method not in matrix.methods_of(spec):
        return False
    realtime = any("-rt-" in package for package in spec.kernel)
    return not (
        (marked("by_table") and not is_by_table(target, method))
        or (marked("realtime") and not realtime)
        or (marked("tools") and not spec.tools)
        or (marked("peers") and target.name != peers.GUEST)
        or (marked("alone") and not target.boots)
    )


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Have the command line's own tests use the guest of the test."""
    os.environ["PYHARNESS_GUEST"] = target_of(item).name


def pytest_terminal_summary(terminalreporter: TerminalReporter, config: pytest.Config) -> None:
    """Print the table of a run over several guests."""
    reports = [
        report
        for those in terminalreporter.stats.values()
        for report in those
        if isinstance(report, pytest.TestReport)
    ]
    if not config.getoption("matrix") or not reports:
        return
    phases = []
    for report in reports:
        known = {str(name): str(value) for name, value in report.user_properties}
        guest = known.get(GUEST, targets_of(config)[0].name)
        method = known.get("method", methods_of(config)[0])
        if method == "auto":
            method = guest_specs.find(guest).dispatch
        phases.append(matrix.Phase(report.nodeid, guest, method, report.outcome, report.duration))
    kernels = {target.name: target.facts.release for target in targets_of(config) if target.facts}
    table = matrix.table(phases, kernels, config.getoption("matrix"))
    terminalreporter.section("guests")
    terminalreporter.write_line(table)
    (artifacts_of(config) / "table.md").write_text(table + "\n", encoding="utf-8")


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
    return time_limit.limit_of(item) > float(item.config.getini("test_limit"))


@pytest.fixture(scope="session")
def soak(pytestconfig: pytest.Config) -> float:
    """How many times as long as usual tests last that repeat something."""
    factor: float = pytestconfig.getoption("soak")
    return factor


@pytest.fixture(scope="session")
def method(request: pytest.FixtureRequest) -> str:
    """How the module intercepts, as its parameter has it."""
    return str(getattr(request, "param", None) or methods_of(request.config)[0])


@pytest.fixture(scope="session")
def parameters(method: str) -> dict[str, str]:
    """What the interceptor is loaded with."""
    return {"method": method}


@pytest.fixture(scope="session")
def by_table(guest_target: Target, method: str) -> bool:
    return is_by_table(guest_target, method)


@pytest.fixture(scope="session")
def modules(lab: GuestPool, method: str) -> Iterator[Modules]:
    """The interceptor that is loaded in each guest; it is left without it."""
    loaded: Modules = WeakKeyDictionary()
    yield loaded
    for guest, module in loaded.items():
        if not guest.closed:
            guest.resume()
            if guest.is_loaded(module.name):
                module.unload()


@pytest.fixture(scope="session")
def expedited() -> WeakSet[Guest]:
    """The guests whose grace periods are expedited."""
    return WeakSet()


@pytest.fixture
def guest(guest: Guest, expedited: WeakSet[Guest]) -> Guest:
    """The guest of the plugin; if its kernel has PREEMPT_RT, grace periods are expedited.

    Such a kernel expedites none by itself. Under emulation each takes a third of a second then, and
    to load and unload the module five.
    """
    if "-rt-" in guest.facts.release and guest not in expedited:
        expedite(guest, yes=True)
        expedited.add(guest)
    return guest


@pytest.fixture
def bare_guest(guest: Guest, modules: Modules) -> Guest:
    """The guest without the module."""
    loaded = modules.pop(guest, None)
    if loaded is not None and guest.is_loaded(loaded.name):
        loaded.unload()
    return guest


@pytest.fixture
def module(guest: Guest, modules: Modules, parameters: dict[str, str]) -> Iterator[Interceptor]:
    """The module, loaded, with nothing intercepted before a test nor after it."""
    loaded = modules.get(guest)
    if loaded is None or not guest.is_loaded(loaded.name):
        modules[guest] = loaded = interceptor.load(guest, **parameters)
    yield loaded
    if not guest.closed and guest.is_loaded(loaded.name):
        for number in loaded.status():
            loaded.release(number)
        assert not loaded.status()


@pytest.fixture
def by_hand(bare_guest: Guest) -> str:
    """The module's folder in the guest, where somebody types commands; built once in each."""
    folder = "/root/module"
    if bare_guest.run(["test", "-d", folder]).status:
        contents = ModuleSource(MODULE).contents
        bare_guest.ssh.put_files(contents, folder, seconds=bare_guest.limit(30))
    return folder


@pytest.fixture(scope="session")
def number_of_syscalls(lab: GuestPool) -> int:
    """NR_syscalls of the guest's kernel, by its headers."""
    return kernel.number_of_syscalls(lab.guest())


@pytest.fixture
def compiled(guest: Guest) -> Callable[..., str]:
    """Compiles a program of tests/programs in the guest; its path there."""
    headers = (MODULE / HEADER, PROGRAMS / "storm.h")

    def make(name: str, *flags: str) -> str:
        sources = {path.name: path.read_bytes() for path in (PROGRAMS / f"{name}.c", *headers)}
        digest = hashlib.sha256(b"".join(sources.values())).hexdigest()
        where = f"/root/programs/{digest[:16]}"
        if guest.run(["test", "-x", f"{where}/{name}"]).status:
            guest.run(["mkdir", "-p", where]).check()
            for file, data in sources.items():
                guest.put(data, f"{where}/{file}")
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


@pytest.fixture(scope="module")
def cli(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cli]:
    """The command line, with a guest that is up."""
    run = Cli(tmp_path_factory.mktemp("run"))
    run("up")
    yield run
    run("down")


@pytest.fixture
def loaded(cli: Cli) -> Iterator[Cli]:
    """The command line, with the module loaded in the guest."""
    cli("load")
    yield cli
    cli("unload")
