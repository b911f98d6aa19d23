# SPDX-License-Identifier: GPL-2.0
"""The interceptor in the guest, as each test expects to find it, and what tests share."""

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from weakref import WeakKeyDictionary

import broken
import pytest

from pyharness import Guest, interceptor
from pyharness.guest.module_source import ModuleSource
from pyharness.guest.pool import GuestPool
from pyharness.interceptor import MODULE, Interceptor
from pyharness.interceptor.interface import HEADER
from pyharness.pytest_plugin import target_of

PROGRAMS = Path(__file__).parent / "programs"

Modules = WeakKeyDictionary[Guest, Interceptor]


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "by_table: run the test only where the module intercepts by the table"
    )
    config.addinivalue_line("markers", "realtime: of kernels with PREEMPT_RT")
    config.addinivalue_line("markers", "tools: of guests that have tracers by the package")
    config.addinivalue_line("markers", "endurance: repeats at length what another test shows")
    config.addinivalue_line("markers", "alone: starts guests of its own, by name")
    config.addinivalue_line("markers", "contract: all tests in tests/contract")
    config.addinivalue_line("markers", "smoke: tests of the harness that make test runs")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--method",
        default="auto",
        choices=("auto", "table", "handler"),
        help="how the module intercepts",
    )
    parser.addoption(
        "--soak",
        type=int,
        default=1,
        metavar="FACTOR",
        help="make tests that repeat something last this many times as long",
    )


def is_by_table(config: pytest.Config) -> bool:
    """Whether the module replaces entries of the table in this run."""
    method = config.getoption("method")
    return bool((target_of(config).spec.dispatch if method == "auto" else method) == "table")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is not for the method that is used, or needs guests that can be started."""
    place, table = target_of(config), is_by_table(config)
    os.environ["PYHARNESS_GUEST"] = place.spec.name  # for the command line's own tests
    realtime = any("-rt-" in package for package in place.spec.kernel)
    others = [
        item
        for item in items
        if (item.get_closest_marker("by_table") and not table)
        or (item.get_closest_marker("realtime") and not realtime)
        or (item.get_closest_marker("tools") and not place.spec.tools)
        or (item.get_closest_marker("alone") and not place.boots)
    ]
    config.hook.pytest_deselected(items=others)
    for item in items:
        if "contract" in item.path.parts:
            item.add_marker("contract")
        if (factor := config.getoption("soak")) > 1:
            item.add_marker(pytest.mark.timeout(factor * limit_of(item)), append=False)
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


def limit_of(item: pytest.Item) -> float:
    """How long a test may last (s)."""
    limit = item.get_closest_marker("timeout")
    return float(limit.args[0] if limit else item.config.getini("timeout"))


def is_long(item: pytest.Item) -> bool:
    """Whether a test is given more time than is usual."""
    return limit_of(item) > float(item.config.getini("timeout"))


@pytest.fixture(scope="session")
def soak(pytestconfig: pytest.Config) -> int:
    """How many times as long as usual tests last that repeat something."""
    factor: int = pytestconfig.getoption("soak")
    return factor


@pytest.fixture(scope="session")
def parameters(pytestconfig: pytest.Config) -> dict[str, str]:
    """What the interceptor is loaded with."""
    return {"method": pytestconfig.getoption("method")}


@pytest.fixture(scope="session")
def by_table(pytestconfig: pytest.Config) -> bool:
    return is_by_table(pytestconfig)


@pytest.fixture(scope="session")
def modules(lab: GuestPool) -> Iterator[Modules]:
    """The interceptor that is loaded in each guest; a guest that goes on is left without it."""
    loaded: Modules = WeakKeyDictionary()
    yield loaded
    for guest, module in loaded.items():
        if guest.qemu.machine.owner is None and not guest.closed:
            guest.resume()
            if guest.is_loaded(module.name):
                module.unload()


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
        bare_guest.ssh.put_files(
            ModuleSource(MODULE).paths, MODULE, folder, seconds=bare_guest.limit(30)
        )
    return folder


@pytest.fixture(scope="session")
def number_of_syscalls(lab: GuestPool) -> int:
    """NR_syscalls of the guest's kernel, by its headers."""
    guest = lab.guest()
    arch = "arm64" if guest.facts.architecture == "arm64" else "x86"
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
            guest.put((MODULE / HEADER).read_bytes(), f"{where}/{HEADER}")
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
