# SPDX-License-Identifier: GPL-2.0
"""Which guests the plugin gives to tests, and which it takes back; they are stand-ins."""

import json
import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from suites import PYTEST

CONFTEST = """
from types import SimpleNamespace

import pytest

import pyharness.pytest_plugin as plugin
from pyharness.errors import GuestCrashed, GuestError
from pyharness.guest import pool
from pyharness.pytest_plugin import watching

plugin.make_ready = lambda *_: None
made = []


class Guest:
    def __init__(self):
        made.append(self)
        self.number = len(made)
        self.death = None
        self.closed = False
        self.facts = SimpleNamespace(checks_slabs=False)
        self.history = ""
        self.health = SimpleNamespace(check=self.check, with_lines=str)
        self.log = SimpleNamespace(fetch=self.check, mark=self.check, since=lambda _mark: [])
        self.backend = SimpleNamespace(console_size=lambda: 0, console_text=lambda *_: "console")

    def check(self):
        if self.death:
            raise self.death

    def die(self, kind=GuestCrashed, **more):
        self.death = kind(f"the kernel of guest {self.number} panicked", **more)

    dismiss = check

    def pause(self):
        if self.death:
            raise GuestError("QEMU does not answer")

    resume = pause

    def close(self):
        assert not self.closed
        self.closed = True

    def describe(self):
        return f"guest {self.number}"


@pytest.fixture(scope="session")
def lab(pytestconfig, guest_target):
    with pool.GuestPool(Guest, "bookworm-amd64", boots=True) as shared:
        shared.fresh = lambda cpus=0: Guest()
        watching.share(pytestconfig, shared)
        yield shared
    assert all(guest.closed for guest in made)
"""


@dataclass(frozen=True)
class Run:
    """How a run of pytest has ended.

    Attributes:
        outcomes: the outcome of each test, by its name.
        messages: why it did not pass.
        seconds: how long it took.
        said: what pytest printed.
    """

    outcomes: dict[str, str]
    messages: dict[str, str]
    seconds: dict[str, float]
    said: str


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Run]:
    """Runs the tests of a file, in their order."""

    def give(tests: str, *words: str, conftest: str = "") -> Run:
        (tmp_path / "pytest.ini").write_text("[pytest]\n", encoding="ascii")
        (tmp_path / "conftest.py").write_text(CONFTEST + conftest, encoding="ascii")
        (tmp_path / "test_it.py").write_text(f"import pytest\n{tests}", encoding="ascii")
        line = [*PYTEST, "--results=results.json", *words]
        done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert (tmp_path / "results.json").exists(), done.stdout + done.stderr
        tests_of = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))["tests"]
        by_name = {test["id"].partition("::")[2]: test for test in tests_of}
        return Run(
            {name: test["outcome"] for name, test in by_name.items()},
            {name: test["message"] for name, test in by_name.items()},
            {name: test["seconds"] for name, test in by_name.items()},
            done.stdout,
        )

    return give


# ---- a test that fails ----

FULL = """
@pytest.fixture(autouse=True)
def full_disk(request, monkeypatch):
    import pathlib
    real = getattr(pathlib.Path, "CALL")

    def fail(path, *words, **more):
        if path.name.endswith("NAME"):
            raise OSError(28, "No space left on device", str(path))
        return real(path, *words, **more)

    monkeypatch.setattr(pathlib.Path, "CALL", fail)
"""
FAILS = """
def test_fails(guest):
    assert 1 + 1 == 3

def test_after(guest):
    assert guest.number == 2
"""


@pytest.mark.parametrize(
    ("call", "name"),
    [("write_text", ".console.log"), ("mkdir", "artifacts"), ("is_dir", "artifacts")],
)
def test_a_console_that_cannot_be_written_hides_no_failure(
    run: Callable[..., Run], call: str, name: str
) -> None:
    """And the guest is discarded all the same."""
    done = run(FAILS, conftest=FULL.replace("CALL", call).replace("NAME", name))
    assert done.outcomes == {"test_fails": "failed", "test_after": "passed"}, done.said
    assert done.messages["test_fails"].startswith("assert (1 + 1) == 3")
    assert "the console could not be kept: [Errno 28] No space left on device" in done.said


CASE = """
import unittest

@pytest.mark.usefixtures("guest")
class TestIt(unittest.TestCase):
    def test_1(self):
        BODY

def test_then(guest):
    assert guest.number == NUMBER
"""


@pytest.mark.parametrize(
    ("body", "outcome", "message"),
    [
        ("raise AssertionError('wrong')", "failed", "AssertionError: wrong"),
        ("made[-1].die(); raise AssertionError('wrong')", "failed", "QEMU does not answer"),
        ("raise unittest.SkipTest('not here')", "skipped", "not here"),
        ("pass", "passed", ""),
    ],
)
def test_a_failing_method_of_a_test_case_is_a_failing_test(
    run: Callable[..., Run], body: str, outcome: str, message: str
) -> None:
    """Its guest is discarded, and the crash of the kernel is the reason."""
    body = body.replace("made", "__import__('conftest').made")
    number = "2" if outcome == "failed" else "1"
    done = run(CASE.replace("BODY", body).replace("NUMBER", number))
    assert done.outcomes == {"TestIt::test_1": outcome, "test_then": "passed"}, done.said
    assert message in done.messages["TestIt::test_1"]
    assert ("console of this test" in done.said) == (outcome == "failed")


# ---- subtests, which pytest has from 9 on ----

with_subtests = pytest.mark.skipif(not hasattr(pytest, "Subtests"), reason="pytest has no subtests")


PARTS = """
def test_parts(guest, subtests):
    with subtests.test("a"):
        FAILS
"""
PARTS_OF_CLASS = """
import unittest

@pytest.mark.usefixtures("guest")
class TestParts(unittest.TestCase):
    def test_parts(self):
        with self.subTest("a"):
            FAILS
"""


@with_subtests
@pytest.mark.parametrize(
    ("test", "fails", "outcome"),
    [
        (PARTS, "raise AssertionError", "failed"),
        (PARTS, "pytest.xfail('known')", "passed"),
        (PARTS_OF_CLASS, "raise AssertionError", "failed"),
    ],
)
def test_a_guest_in_which_a_subtest_has_failed_is_discarded(
    run: Callable[..., Run], test: str, fails: str, outcome: str
) -> None:
    then = "def test_then(guest):\n    assert guest.number == 2\n"
    done = run(test.replace("FAILS", fails) + then)
    assert [*done.outcomes.values()] == [outcome, "passed"]


@with_subtests
def test_a_guest_whose_subtests_have_not_failed_is_shared(run: Callable[..., Run]) -> None:
    tests = """
import unittest

def test_parts(guest, subtests):
    with subtests.test("a"):
        pytest.skip("not here")
    with subtests.test("b"):
        raise unittest.SkipTest("not here")

def test_skip(guest):
    raise unittest.SkipTest("not here")

def test_same(guest):
    assert guest.number == 1
"""
    done = run(tests)
    assert done.outcomes == {"test_parts": "passed", "test_same": "passed", "test_skip": "skipped"}


@with_subtests
@pytest.mark.parametrize("words", [(), ("-n1",)])
def test_the_results_have_the_outcome_of_a_test_and_not_of_its_subtests(
    run: Callable[..., Run], words: tuple[str, ...]
) -> None:
    tests = """
import time

def test_skips(subtests):
    with subtests.test("a"):
        pytest.skip("this part needs arm64")
    with subtests.test("b"):
        pytest.xfail("known")
    with subtests.test("c"):
        time.sleep(1)

def test_fails(subtests):
    with subtests.test("a"):
        pytest.skip("this part needs arm64")
    with subtests.test("b"):
        assert not "the second part"
    with subtests.test("c"):
        raise AssertionError("the third part")
"""
    done = run(tests, *words)
    assert done.outcomes == {"test_skips": "passed", "test_fails": "failed"}
    assert done.messages["test_skips"] == ""
    assert "the second part" in done.messages["test_fails"]
    assert 1 <= done.seconds["test_skips"] < 1.9


# ---- guests that are lost ----

LATER = """
from pyharness.errors import EmulatorFault, HostError

def pytest_runtest_logfinish(nodeid):
    if nodeid.endswith("_dies_later"):
        made[-1].die(KIND)
"""


@pytest.mark.parametrize(
    "between", ["", "def test_2_needs_none():\n    pass\n"], ids=["at once", "after another"]
)
@pytest.mark.parametrize("kind", ["GuestCrashed", "HostError"])
def test_a_guest_that_dies_between_two_tests_is_replaced_and_reported_once(
    run: Callable[..., Run], between: str, kind: str
) -> None:
    tests = f"""
def test_1_dies_later(guest):
    pass

{between}
def test_3(guest):
    assert guest.number == 2

def test_4(guest):
    assert guest.number == 2
"""
    done = run(tests, conftest=LATER.replace("KIND", kind))
    outcomes = {"test_1_dies_later": "passed", "test_3": "error", "test_4": "passed"}
    assert done.outcomes == outcomes | ({"test_2_needs_none": "passed"} if between else {})
    assert done.messages["test_3"] == (
        "pyharness.errors.GuestError: the guest of test_it.py::test_1_dies_later was lost after the"
        " end of that test, and replaced for this one: the kernel of guest 1 panicked"
    )
    assert "ERROR at teardown of test_3" in done.said


RERUNS = """
from _pytest.runner import runtestprotocol

class Reruns:
    def pytest_runtest_protocol(self, item, nextitem):
        for _ in range(2):
            reports = runtestprotocol(item, nextitem=nextitem, log=False)
            if not any(report.failed for report in reports):
                break
        for report in reports:
            item.ihook.pytest_runtest_logreport(report=report)
        item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        return True

def pytest_configure(config):
    config.pluginmanager.register(Reruns())
"""


def test_a_loss_does_not_fail_the_test_that_is_run_again(run: Callable[..., Run]) -> None:
    """By another plugin, that is."""
    tests = """
def test_1_dies_later(guest):
    pass

def test_2(guest):
    assert guest.number > 1
"""
    done = run(tests, conftest=LATER.replace("KIND", "GuestCrashed") + RERUNS)
    assert [*done.outcomes.values()] == ["passed", "passed"]


def test_a_loss_is_reported_though_qemu_is_at_fault_then(run: Callable[..., Run]) -> None:
    """The test is repeated, and the first run of it is not reported."""
    tests = """
from pyharness.errors import EmulatorFault

def test_1_dies_later(guest):
    pass

def test_2(guest):
    if guest.number == 2:
        raise EmulatorFault("the kernel crashed", fault="wrong flags")
"""
    done = run(tests, conftest=LATER.replace("KIND", "GuestCrashed"))
    assert [*done.outcomes.values()] == ["passed", "error"]
    assert "test_it.py::test_1_dies_later was lost" in done.messages["test_2"]
    assert "tests that were repeated" in done.said


DEBUGS = """
from pyharness.errors import HostError
from pyharness.guest.gdb import debugger, kernel_symbols
from pyharness.pytest_plugin.debugging import Debugging

def describe(_backend, guest, _modules):
    raise HostError(f"looked at {guest.number}")

kernel_symbols.keep = lambda *_: None
debugger.describe = describe
Guest.qemu, Guest.modules = None, {}

def pytest_configure(config):
    config.pluginmanager.register(Debugging(config), "gdb-here")
"""


@with_subtests
def test_gdb_looks_at_the_guest_of_what_fails(run: Callable[..., Run]) -> None:
    """At that of a subtest, too; not at one that was lost before."""
    tests = """
def test_0(guest, subtests):
    with subtests.test("a"):
        assert guest.number != 1

def test_1_dies_later(guest):
    assert guest.number == 2

def test_2(guest):
    assert guest.number != 3

def test_3_dies_later(guest):
    pass

def test_4(guest):
    assert guest.number == 5
"""
    conftest = LATER.replace("KIND", "GuestCrashed") + DEBUGS
    done = run(tests, "-s", "-p", "no:pyharness-gdb", conftest=conftest)
    assert re.findall(r"gdb can't be used: looked at (\d)", done.said) == ["1", "3"]


def test_a_guest_that_is_paused_for_another_may_have_died(run: Callable[..., Run]) -> None:
    tests = """
def test_1_dies_later(guest):
    pass

@pytest.mark.cpus(3)
def test_2(guest):
    assert guest.number == 2

def test_3(guest):
    assert guest.number == 3

@pytest.mark.cpus(3)
def test_4(guest):
    assert guest.number == 2
"""
    done = run(tests, conftest=LATER.replace("KIND", "GuestCrashed"))
    assert [*done.outcomes.values()] == ["passed", "passed", "error", "passed"]
    assert "test_it.py::test_1_dies_later" in done.messages["test_3"]


def test_a_fixture_of_the_run_gets_a_guest_that_lives(run: Callable[..., Run]) -> None:
    """It would fail each test that uses it."""
    tests = """
@pytest.fixture(scope="session")
def number(lab):
    lab.guest().check()
    return lab.guest().number

def test_1_dies_later(guest):
    pass

def test_2(number, guest):
    assert number == guest.number == 2

def test_3(number, guest):
    assert number == guest.number == 2
"""
    done = run(tests, conftest=LATER.replace("KIND", "GuestCrashed"))
    assert [*done.outcomes.values()] == ["passed", "error", "passed"]
    assert "test_it.py::test_1_dies_later" in done.messages["test_2"]


def test_a_guest_that_qemu_has_lost_between_two_tests_is_no_error(run: Callable[..., Run]) -> None:
    tests = """
def test_1_dies_later(guest):
    pass

def test_2(guest):
    assert guest.number == 2
"""
    done = run(
        tests, conftest=LATER.replace("KIND", "EmulatorFault, fault='flags that no CPU can have'")
    )
    assert [*done.outcomes.values()] == ["passed", "passed"]
    assert "test_it.py::test_2: flags that no CPU can have" in done.said
    assert "tests whose guest was replaced" in done.said
    assert "tests that were repeated" not in done.said


def test_a_guest_that_is_asked_for_after_a_crash_is_lost_in_that_test(
    run: Callable[..., Run],
) -> None:
    tests = """
def test_1(guest, lab):
    guest.die()
    assert lab.guest().number == 2

def test_2(guest):
    assert guest.number == 2
"""
    done = run(tests)
    assert [*done.outcomes.values()] == ["failed", "passed"]
    assert "1 failed, 1 passed" in done.said


FIRST = """
from pyharness.errors import EmulatorFault

alive = Guest.__init__

def dead(guest):
    alive(guest)
    if guest.number == 1:
        guest.die(KIND)

Guest.__init__ = dead
"""


@pytest.mark.parametrize("marker", ["", "@pytest.mark.fresh_guest"])
@pytest.mark.parametrize(
    ("kind", "outcome"),
    [("GuestCrashed", "error"), ("EmulatorFault, fault='wrong flags'", "passed")],
)
def test_a_guest_that_dies_at_once_is_not_used_again(
    run: Callable[..., Run], marker: str, kind: str, outcome: str
) -> None:
    """A test that did not begin, as QEMU was at fault, is repeated in another guest."""
    tests = f"{marker}\ndef test_1(guest):\n    pass\n\n{marker}\ndef test_2(guest):\n    pass\n"
    done = run(tests, conftest=FIRST.replace("KIND", kind))
    assert [*done.outcomes.values()] == [outcome, "passed"]
    assert ("tests that were repeated" in done.said) == (outcome == "passed")
    assert "ERROR at teardown" not in done.said
