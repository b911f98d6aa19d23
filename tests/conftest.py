# SPDX-License-Identifier: GPL-2.0
"""The guest that tests share, and the module in it, as each test expects to find them."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import pyharness
from pyharness import Actor, Guest, Module, accel, guests, machines, oops
from pyharness.errors import GuestCrashed
from pyharness.progress import Terminal
from pyharness.ssh import source_files


def pytest_report_header() -> str:
    known = accel.quick_answer(guests.find())
    how = f"{known.name} ({known.reason})" if known else "accelerator to be found out"
    return f"guest: {pyharness.DEFAULT_GUEST}, {how}"


def freeze(config: pytest.Config) -> None:
    """Make image and saved state before the first test, where one can see that it lasts."""
    capture = config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        machines.freeze(guests.find(), teller=Terminal())


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


class Lab:
    """The guest that tests share. One that crashed is thrown away, not mended."""

    def __init__(self) -> None:
        self._guest: Guest | None = None
        self._module: Module | None = None

    def guest(self) -> Guest:
        if self._guest is None:
            self._guest = pyharness.boot()
        return self._guest

    def module(self) -> Module:
        if self._module is None or not self.guest().is_loaded(self._module.name):
            self._module = self.guest().load(pyharness.MODULE)
        return self._module

    def unload(self) -> None:
        if self._module is not None and self.guest().is_loaded(self._module.name):
            self._module.unload()
        self._module = None

    def close(self) -> None:
        if self._guest is not None:
            self._guest.close()
        self._guest = self._module = None


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    shared = Lab()
    yield shared
    shared.close()


@pytest.fixture
def guest(lab: Lab) -> Iterator[Guest]:
    """The guest; its kernel may not complain of anything during a test."""
    entered = lab.guest()
    mark = entered.log.mark()
    yield entered
    try:
        entered.check_alive()
        said = entered.log.since(mark)
    except GuestCrashed as error:
        lab.close()
        pytest.fail(f"during this test: {error}")
    trouble = [record.text for record in said if oops.is_trouble(record.text)]
    if trouble:
        report = oops.reports("\n".join(record.text for record in said))
        lab.close()
        pytest.fail(f"the kernel of {entered.describe()} complained:\n" + "\n".join(report))


@pytest.fixture
def bare_guest(lab: Lab, guest: Guest) -> Guest:
    """The guest without the module."""
    lab.unload()
    return guest


@pytest.fixture
def module(lab: Lab, guest: Guest) -> Iterator[Module]:
    """The module, loaded, with nothing intercepted before a test nor after it."""
    loaded = lab.module()
    yield loaded
    if guest.machine.alive and guest.is_loaded(loaded.name):
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
    """NR_syscalls of the guest's kernel, by the headers that its dispatcher is made from."""
    header = "arch/x86/include/generated/asm/syscalls_32.h"
    found = lab.guest().run(
        f"sed -n 's/^__SYSCALL[A-Z_]*(\\([0-9]*\\),.*/\\1/p' "
        f"/lib/modules/$(uname -r)/build/{header} | sort -n | tail -1"
    )
    return int(found.check().stdout) + 1


@pytest.fixture
def broken_module(tmp_path: Path) -> Callable[[str, str, str], Path]:
    """Makes a copy of the module in which one file says something else."""

    def make(file: str, old: str, new: str) -> Path:
        folder = tmp_path / "module"
        folder.mkdir()
        for path in source_files(pyharness.MODULE):
            (folder / path.name).write_bytes(path.read_bytes())
        text = (folder / file).read_text(encoding="utf-8")
        assert old in text, f"{file} has no {old!r} to break"
        (folder / file).write_text(text.replace(old, new), encoding="utf-8")
        return folder

    return make
