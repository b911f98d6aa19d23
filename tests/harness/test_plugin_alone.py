# SPDX-License-Identifier: GPL-2.0
"""The pytest plugin where no guest is needed: options, order, mistakes, and what an error shows."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from suites import PYTEST

from pyharness.machine import guest_specs

Run = Callable[..., "subprocess.CompletedProcess[str]"]

PASSES = "def test_pass():\n    pass\n"
# A guest that takes no time: what is tested is what pytest prints before it.
NO_GUEST = """
from pathlib import Path

import pytest
from pyharness.machine import saved_states
from pyharness.machine.accelerator import Accelerator
from pyharness.machine.image import Image

made = set()

def saved(spec, *, progress=None):
    if spec not in made:
        made.add(spec)
        print("BOOTS SILENTLY") if progress is None else progress.message("boots, and shows it")
    image = Image(folder=Path("made-up"), release="6.1.0", version="", host_key="")
    return saved_states.SavedState(
        folder=Path("made-up"),
        spec=spec,
        image=image,
        kernel=image.kernel,
        accel=Accelerator(name="tcg", reason="made up"),
        vermagic="6.1.0",
    )

saved_states.ensure = saved

@pytest.fixture(scope="session")
def lab(guest_target):
    return guest_target.name

@pytest.fixture
def guest(lab):
    return None
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project whose configuration is needed: with another, its test fails."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "pytest.ini").write_text("[pytest]\naddopts = --strict-markers\n", encoding="ascii")
    (folder / "test_made_up.py").write_text(PASSES, encoding="ascii")
    return folder


@pytest.fixture
def run(project: Path, tmp_path: Path) -> Run:
    """Runs pytest in the project; both its streams are one."""

    def give(*words: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [*PYTEST, *words],
            cwd=project,
            env=os.environ
            | {"PYTEST_ADDOPTS": "", "PYTHONUNBUFFERED": "1", "PYHARNESS_RUN": str(tmp_path)}
            | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )

    return give


def is_refused(done: "subprocess.CompletedProcess[str]", said: str) -> bool:
    """Whether it ended as wrong usage does, with that sentence, once and alone."""
    assert done.returncode == pytest.ExitCode.USAGE_ERROR, done.stdout
    assert done.stdout.count(said) == 1, done.stdout
    assert "Traceback" not in done.stdout
    assert " passed" not in done.stdout
    return True


# ---- what is shown before the first test ----


@pytest.mark.parametrize("marker", ["", "@pytest.mark.cpus(4)\n", '@pytest.mark.kernel(">=5")\n'])
def test_a_boot_is_shown_before_the_line_about_the_guest(
    project: Path, run: Run, marker: str
) -> None:
    (project / "conftest.py").write_text(NO_GUEST, encoding="ascii")
    test = f"import pytest\n\n{marker}def test_pass(guest):\n    pass\n"
    (project / "test_made_up.py").write_text(test, encoding="ascii")
    done = run()
    assert "SILENTLY" not in done.stdout
    assert done.stdout.index("boots, and shows it") < done.stdout.index("guest: ")
    assert f"guest: {guest_specs.DEFAULT_GUEST}, kernel 6.1.0, tcg (made up)" in done.stdout
    assert "1 passed" in done.stdout


def test_nothing_is_booted_for_a_report_alone(project: Path, run: Run) -> None:
    (project / "conftest.py").write_text(NO_GUEST, encoding="ascii")
    done = run("--results=report.json", "-o", "guest=default")
    assert "boots" not in done.stdout.lower()
    assert '"guests": []' in (project / "report.json").read_text(encoding="utf-8")


def test_a_project_that_wants_no_guest_needs_no_place_for_consoles(project: Path, run: Run) -> None:
    (project / "artifacts").touch()
    assert "1 passed" in run().stdout
    (project / "conftest.py").write_text(NO_GUEST, encoding="ascii")
    (project / "test_made_up.py").write_text("def test_it(guest):\n    pass\n", encoding="ascii")
    assert is_refused(run(), f"{project / 'artifacts'} is not a folder")


# ---- paths in words of their own ----

WITH_PATHS = ("--results", "--artifacts", "--module", "--ssh-key", "--guest", "--ssh-user")


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A path outside of the project that any of the options could name."""
    folder = tmp_path / "other place"
    folder.mkdir()
    (folder / "Kbuild").write_text("obj-m := a.o\n", encoding="ascii")
    return folder


@pytest.mark.parametrize("option", WITH_PATHS)
def test_a_path_that_would_move_the_root_is_refused(run: Run, elsewhere: Path, option: str) -> None:
    done = run(option, str(elsewhere))
    assert is_refused(done, f"write {option}='{elsewhere}'")


@pytest.mark.parametrize("flag", ["--memory-debug", "--gdb"])
def test_a_flag_takes_no_value(run: Run, elsewhere: Path, flag: str) -> None:
    (elsewhere.parent / "pytest.ini").write_text("[pytest]\n", encoding="ascii")
    done = run("--results", str(elsewhere), flag, "test_made_up.py")
    assert is_refused(done, f": write --results='{elsewhere}'\n")


def test_options_of_the_environment_are_looked_at_too(run: Run, elsewhere: Path) -> None:
    done = run("-n", "1", PYTEST_ADDOPTS=f"--artifacts '{elsewhere}'")
    assert is_refused(done, f"write --artifacts='{elsewhere}'")


def test_a_path_in_one_word_with_its_option_works(project: Path, run: Run, elsewhere: Path) -> None:
    report = elsewhere / "report.json"
    report.touch()
    words = (f"--results={report}", f"--artifacts={elsewhere}", f"--module={elsewhere}")
    for more in ((), ("-n", "1")):
        done = run(*words, *more)
        assert "1 passed" in done.stdout, done.stdout
        if not more:
            assert f"rootdir: {project}\nconfigfile: pytest.ini\n" in done.stdout
        assert '"passed": 1' in report.read_text(encoding="utf-8")


def test_a_path_that_does_not_change_the_root_folder_is_accepted(
    project: Path, run: Run, elsewhere: Path
) -> None:
    for words in (
        ("--artifacts", "artifacts"),  # not there yet, then in the project
        ("--artifacts", "artifacts"),
        (f"--rootdir={project}", "-c", "pytest.ini", "--artifacts", str(elsewhere)),
        ("test_made_up.py::test_pass", "--results", "report.json"),
    ):
        (project / "artifacts").mkdir(exist_ok=True)
        assert "1 passed" in run(*words).stdout, words


# ---- mistakes that concern all tests ----


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--module=nosuch",), "/project/nosuch"),
        (("--module=.", "-n1"), "has neither Kbuild nor Makefile"),
        (("-o", "module=nosuch"), "there is no folder"),
        (("-o", "guest=nosuch", "-n1"), "no guest is called 'nosuch'"),
        (("--artifacts=pytest.ini/deeper/still",), "pytest.ini is not a folder"),
        (("--results=pytest.ini/report.json",), "pytest.ini is not a folder"),
        (("--results=.",), "/project is a folder: name a file"),
    ],
)
def test_a_mistake_is_one_usage_error(run: Run, words: tuple[str, ...], said: str) -> None:
    assert is_refused(run(*words), said)


TAKES_MODULE = """
import pytest

@pytest.mark.parametrize("number", range(3))
def test_it(module, number):
    pass
"""
OVERRIDES = """
@pytest.fixture(scope="session")
def module_folder():
    raise KeyError("its own")
"""


def test_a_module_that_is_not_there_is_one_usage_error(project: Path, run: Run) -> None:
    (project / "conftest.py").write_text(NO_GUEST, encoding="ascii")
    (project / "test_made_up.py").write_text(TAKES_MODULE, encoding="ascii")
    for workers in ((), ("-n", "2")):
        done = run(*workers)
        assert is_refused(done, f"there is no folder {project / 'module'}")
        assert "boots" not in done.stdout
    (project / "conftest.py").write_text(NO_GUEST + OVERRIDES, encoding="ascii")
    assert "3 errors" in run().stdout


@pytest.mark.parametrize(
    ("marker", "said"),
    [
        ('expects_warning("(")', "is not a regular expression"),
        ("expects_warning(3)", "is not a regular expression"),
        ("expects_warning()", "write what is expected"),
        ('expects_warning(b"x")', "is not a regular expression: write it as a string"),
        ("cpus()", "::test_it: write the number of CPUs: cpus(4)"),
        ('cpus("four")', "::test_it: write the number of CPUs: cpus(4)"),
        ("cpus(n=4)", "::test_it: write the number of CPUs: cpus(4)"),
        ('architecture("x86")', "architecture('x86') has to name architectures that guests have"),
        ("kernel(6.1)", "::test_it: kernel(6.1) has to name conditions"),
        ("kernel()", "::test_it: kernel() has to name conditions"),
        ('kernel(minimum="9")', "::test_it: kernel(minimum='9') has to name conditions"),
        ('kernel(">=6", "x")', "::test_it: kernel('>=6', 'x') has to name conditions"),
        ("leaks_nothing(3)", "::test_it: leaks_nothing takes no arguments"),
        ("fresh_guest('x')", "::test_it: fresh_guest takes no arguments"),
        ("console(x=1)", "::test_it: console takes no arguments"),
    ],
)
def test_a_marker_that_says_nothing_is_one_usage_error(
    project: Path, run: Run, marker: str, said: str
) -> None:
    (project / "conftest.py").write_text(NO_GUEST, encoding="ascii")
    test = f"import pytest\n\n@pytest.mark.{marker}\ndef test_it(guest):\n    pass\n"
    (project / "test_made_up.py").write_text(test, encoding="ascii")
    assert is_refused(run(), said)


@pytest.mark.parametrize(
    "marker",
    [
        "expects_warning('x')",
        "leaks_nothing",
        "cpus(4)",
        "fresh_guest",
        "console",
        "architecture('i386')",
        "kernel('>=5')",
        "debug_kernel('KASAN')",
    ],
)
def test_a_marker_about_a_guest_is_for_tests_that_use_one(
    project: Path, run: Run, marker: str
) -> None:
    test = f"import pytest\n\n@pytest.mark.{marker}\ndef test_it():\n    pass\n"
    (project / "test_made_up.py").write_text(test, encoding="ascii")
    name = marker.partition("(")[0]
    assert is_refused(run(), f"::test_it: {name} is for a test that takes the fixture guest")


HAS_CONDITIONS = """
import pytest

pytestmark = [pytest.mark.kernel("<6.1"), pytest.mark.architecture("i386", "amd64")]

@pytest.mark.kernel(">=5.10")
def test_other_kernel(guest):
    pass

@pytest.mark.architecture("arm64")
def test_other_architecture(guest):
    pass

def test_pure():
    pass
"""


def test_the_conditions_of_all_markers_have_to_hold(project: Path, run: Run) -> None:
    """Those of a module, too, where only the tests that use a guest are meant."""
    (project / "conftest.py").write_text(NO_GUEST, encoding="ascii")
    (project / "test_made_up.py").write_text(HAS_CONDITIONS, encoding="ascii")
    done = run("-v")
    assert "test_pure PASSED" in done.stdout
    assert "1 passed, 2 deselected" in done.stdout
    text = HAS_CONDITIONS.replace('"<6.1"', '"<6.2"').replace('("arm64")', '("i386")')
    (project / "test_made_up.py").write_text(text, encoding="ascii")
    assert "3 passed" in run().stdout


def test_a_pattern_may_be_compiled(project: Path, run: Run) -> None:
    (project / "conftest.py").write_text(NO_GUEST, encoding="ascii")
    marked = "@pytest.mark.expects_warning(re.compile('x'))\ndef test_it(guest):\n    pass\n"
    (project / "test_made_up.py").write_text(f"import pytest, re\n\n{marked}", encoding="ascii")
    assert "1 passed" in run().stdout


@pytest.mark.parametrize("option", ["--fixtures", "--fixtures-per-test", "--setup-plan"])
def test_nothing_is_booted_to_list_fixtures(project: Path, run: Run, option: str) -> None:
    (project / "conftest.py").write_text(NO_GUEST, encoding="ascii")
    (project / "test_made_up.py").write_text("def test_it(guest):\n    pass\n", encoding="ascii")
    done = run(option)
    assert done.returncode == 0
    assert "guest" in done.stdout
    assert "boots" not in done.stdout.lower().replace("the tests in (pyharness list)", "")


# ---- the report ----

MOVES = """
import pytest

@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

@pytest.fixture(scope="session", autouse=True)
def elsewhere_for_good(tmp_path_factory):
    import os
    os.chdir(tmp_path_factory.mktemp("elsewhere"))

def test_it(record_property, tmp_path, pytestconfig):
    record_property("where", tmp_path)
    record_property(3, {1})
    from pyharness.pytest_plugin import options
    record_property("artifacts", options.artifacts_of(pytestconfig))
    record_property("module", options.module_folder_of(pytestconfig))
"""


def test_a_report_is_written_where_pytest_was_started(project: Path, run: Run) -> None:
    (project / "test_made_up.py").write_text(MOVES, encoding="ascii")
    module = project / "there"
    module.mkdir()
    (module / "Kbuild").touch()
    done = run("--results=report.json", "--artifacts=consoles", "--module=there")
    assert "1 passed" in done.stdout, done.stdout
    properties = reported(project)["tests"][0]["properties"]
    assert "test_it" in properties.pop("where")
    assert properties == {
        "3": "{1}", "artifacts": str(project / "consoles"), "module": str(module),
    }  # fmt: skip


def reported(project: Path) -> dict[str, Any]:
    """What the report says."""
    whole: dict[str, Any] = json.loads((project / "report.json").read_text(encoding="utf-8"))
    return whole


@pytest.mark.parametrize(
    ("test", "outcome", "exit_status"),
    [
        ("def test_it(:\n", "failed", 2),
        ("def test_it():\n    raise KeyboardInterrupt\n", "interrupted", 2),
        ("import pytest\ndef test_it():\n    pytest.exit('', returncode=0)\n", "interrupted", 0),
        ("", "no tests", 5),
    ],
)
def test_a_report_says_how_a_run_ended(
    project: Path, run: Run, test: str, outcome: str, exit_status: int
) -> None:
    (project / "test_made_up.py").write_text(test, encoding="ascii")
    assert run("--results=report.json").returncode == exit_status
    whole = reported(project)
    assert (whole["outcome"], whole["exit_status"]) == (outcome, exit_status)
    if outcome == "failed":
        assert whole["tests"][0]["id"] == "test_made_up.py"
        assert "SyntaxError" in whole["tests"][0]["message"]
    assert [test["outcome"] for test in whole["tests"]] == {
        "failed": ["error"], "interrupted": ["interrupted"], "no tests": [],
    }[outcome]  # fmt: skip


HAVE_REASONS = """
import pytest

def test_skipped():
    pytest.skip("not now")

@pytest.mark.skip
def test_skipped_by_mark():
    pass

@pytest.mark.xfail(reason="known")
def test_known():
    assert 0

@pytest.mark.xfail
def test_known_without_reason():
    assert 0, "wrong"

def test_known_late():
    pytest.xfail("known")

def test_records(record_property):
    record_property("ratio", float("nan"))
    record_property("histogram", {(0, 1): 5})
"""


def test_a_report_has_reasons_and_is_json_whatever_is_recorded(project: Path, run: Run) -> None:
    (project / "test_made_up.py").write_text(HAVE_REASONS, encoding="ascii")
    for workers in ((), ("-n", "1")):
        done = run("--results=report.json", *workers)
        assert "1 passed, 2 skipped, 3 xfailed" in done.stdout, done.stdout
        tests = {test["id"].split("::")[1]: test for test in reported(project)["tests"]}
        known = tests.pop("test_known_without_reason")["message"]
        assert known.startswith("AssertionError: wrong")
        properties = tests.pop("test_records")["properties"]
        assert properties == {"ratio": "nan", "histogram": "{(0, 1): 5}"}
        assert {name: test["message"] for name, test in tests.items()} == {
            "test_skipped": "not now",
            "test_skipped_by_mark": "unconditional skip",
            "test_known": "known",
            "test_known_late": "known",
        }


# ---- tests that another plugin runs again ----

RUNS_AGAIN = """
from _pytest.runner import runtestprotocol

def pytest_runtest_protocol(item, nextitem):
    if "steady" in item.name:
        return None
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    for attempt in range(3):
        reports = runtestprotocol(item, log=False, nextitem=nextitem)
        again = any(report.failed for report in reports)
        for report in reports:
            if report.failed:
                report.outcome = "rerun"
            item.ihook.pytest_runtest_logreport(report=report)
            if report.outcome == "rerun":
                break
        if not again:
            break
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True

def pytest_report_teststatus(report):
    if report.outcome == "rerun":
        return "rerun", "R", "RERUN"
"""
FAILS_ONCE = """
runs = []

def test_host():
    runs.append("host")
    assert runs.count("host") > 1

def test_guest(guest):
    runs.append("guest")
    assert runs.count("guest") > 1

def test_steady(guest):
    runs.append("steady")
    assert runs.count("steady") == 1
"""


def test_another_plugin_may_run_a_test_again(project: Path, run: Run) -> None:
    """With a guest and without, and in the results, too; other tests are not touched."""
    (project / "conftest.py").write_text(NO_GUEST + RUNS_AGAIN, encoding="ascii")
    (project / "test_made_up.py").write_text(FAILS_ONCE, encoding="ascii")
    done = run("--results=report.json")
    assert "3 passed, 2 rerun" in done.stdout, done.stdout
    assert [test["outcome"] for test in reported(project)["tests"]] == ["passed"] * 3


# ---- without plugins of pytest ----


@pytest.mark.parametrize("plugin", ["terminal", "capture"])
def test_plugins_of_pytest_may_be_switched_off(project: Path, run: Run, plugin: str) -> None:
    (project / "conftest.py").write_text(NO_GUEST, encoding="ascii")
    test = "import pytest\n@pytest.mark.cpus(4)\ndef test_it(guest):\n    assert 0\n"
    (project / "test_made_up.py").write_text(test, encoding="ascii")
    done = run("-p", f"no:{plugin}", "--results=report.json")
    assert "INTERNALERROR" not in done.stdout
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout
    assert reported(project)["tests"][0]["outcome"] == "failed"


# ---- what an error shows ----

RAISES = """
import pytest
from pyharness import Completed, Result
from pyharness.guest import guest, open_file

def fails():
    try:
        {"a": 1}["his own key"]
    except KeyError as error:
        Completed(command="false", status=1, stdout="", stderr="no such thing").check()

def test_of_ours():
    fails()  # his own line

def test_with_a_cause_of_ours():
    guest.inspect(__import__("pathlib").Path("/nosuch.ko"), None)

def test_of_the_kernel():
    open_file.succeeded(Result(-1, 13), "/dev/ring")  # his own line

def test_of_his_own():
    assert 1 == 2, "as it should"

@pytest.fixture
def made():
    fails()

def test_in_a_fixture(made):
    pass
"""


def test_an_error_shows_the_tests_own_lines_first(project: Path, run: Run) -> None:
    (project / "test_made_up.py").write_text(RAISES, encoding="ascii")
    shown = run("-rA").stdout
    assert "ssh.py" not in shown
    assert "open_file.py" not in shown
    assert "his own line" in shown
    assert "no such thing" in shown
    assert "KeyError: 'his own key'" in shown
    assert "/nosuch.ko can't be read" in shown
    assert "FileNotFoundError" not in shown
    assert "PermissionError: [Errno 13] Permission denied" in shown
    assert "as it should" in shown
    whole = run("--full-trace").stdout
    assert "ssh.py" in whole
    assert "open_file.py" in whole
    assert "FileNotFoundError" in whole


FAILS_TO_BUILD = """
import pathlib
import pytest
from pyharness import Guest
from pyharness.guest.module_source import ModuleSource

class Fake(Guest):
    build = staticmethod(ModuleSource)

    def __init__(self):
        pass

@pytest.fixture
def guest():
    return Fake()

@pytest.fixture(scope="session")
def module_folder():
    return pathlib.Path("/nosuch\\nline")
"""


def test_an_error_before_the_tests_own_lines_is_shown_alone(project: Path, run: Run) -> None:
    (project / "conftest.py").write_text(NO_GUEST + FAILS_TO_BUILD, encoding="ascii")
    (project / "test_made_up.py").write_text("def test_it(module):\n    pass\n", encoding="ascii")
    for workers in ((), ("-n", "1")):
        done = run("--results=report.json", *workers)
        error = "pyharness.errors.UsageError: there is no folder /nosuch"
        assert f"\nE   {error}\nE   line: name" in done.stdout
        assert f"\nERROR test_made_up.py::test_it - {error[:30]}" in done.stdout
        assert "pytest_plugin.py" not in done.stdout
        assert error in (project / "report.json").read_text(encoding="utf-8")


# ---- several guests ----

TWO = ("--guest=bookworm-i386", "--guest=trixie-amd64")
SEVERAL = """
import os

import pytest

@pytest.mark.parametrize("number", [1, 2, 3])
def test_lab(lab, number, record_property):
    record_property("worker", os.environ.get("PYTEST_XDIST_WORKER"))
    if (lab, number) == ("bookworm-i386", int(os.environ.get("CRASHES", 0))):
        os._exit(3)

@pytest.mark.architecture("i386")
def test_i386(lab):
    assert lab == "bookworm-i386"
"""
WORD_FIRST = """
@pytest.hookimpl(tryfirst=True)
def pytest_generate_tests(metafunc):
    if "number" in metafunc.fixturenames:
        metafunc.fixturenames.append("word")
        metafunc.parametrize("word", ["trixie-amd64"])
"""
TEST_CASE = """
import unittest
import pytest

@pytest.mark.usefixtures("guest")
class TestIt(unittest.TestCase):
    def test_it(self):
        pass
"""
GUEST_OF_ITS_OWN = """
import pytest

@pytest.fixture
def guest():
    return "a person"

def test_it(guest):
    assert guest == "a person"
"""


@pytest.fixture
def several(project: Path) -> Path:
    (project / "conftest.py").write_text(NO_GUEST, encoding="ascii")
    (project / "test_made_up.py").write_text(SEVERAL, encoding="ascii")
    return project


def names_of(project: Path) -> dict[str, str]:
    """The tests of a run, and the guest of each."""
    return {test["id"].split("::")[1]: test["guest"] for test in reported(project)["tests"]}


@pytest.mark.parametrize("workers", [(), ("-n", "2")])
@pytest.mark.parametrize("named", [TWO, ("-o", "guest=bookworm-i386"), ("-o", "guest=*-i386")])
def test_each_test_of_a_fixture_that_needs_a_guest_is_run_in_each(
    several: Path, run: Run, named: tuple[str, ...], workers: tuple[str, ...]
) -> None:
    """However the guests are named, and whichever of the plugin's fixtures it takes."""
    done = run(*named, *workers, "--results=report.json")
    found = names_of(several)
    guests = [guest["name"] for guest in reported(several)["guests"]]
    if guests == ["bookworm-i386"]:
        assert found == dict.fromkeys(found)
        assert {"test_i386", "test_lab[1]"} < found.keys()
        return
    assert guests == (["bookworm-i386", "trixie-amd64"] if named == TWO else ["bookworm-i386",
                      "bullseye-i386"]), done.stdout  # fmt: skip
    wanted = {f"test_lab[{guest}-{number}]": guest for guest in guests for number in (1, 2, 3)}
    wanted |= {f"test_i386[{guest}]": guest for guest in guests if guest.endswith("i386")}
    assert found == wanted


def test_a_worker_has_one_guest_whatever_parameters_come_first(several: Path, run: Run) -> None:
    (several / "conftest.py").write_text(NO_GUEST + WORD_FIRST, encoding="ascii")
    run(*TWO, "-n", "2", "--results=report.json")
    found = reported(several)["tests"]
    assert {test["id"].split("[")[1].split("-t")[0] for test in found if "lab" in test["id"]} == {
        "bookworm-i386", "trixie-amd64"
    }  # fmt: skip
    workers = {
        (test["guest"], test["properties"]["worker"]) for test in found if "lab" in test["id"]
    }
    assert len(workers) == 2


def test_a_worker_that_crashes_costs_one_test(several: Path, run: Run) -> None:
    done = run(*TWO, "-n", "2", "--results=report.json", CRASHES="2")
    assert "1 failed, 6 passed" in done.stdout, done.stdout
    (failed,) = [test for test in reported(several)["tests"] if test["outcome"] == "failed"]
    assert failed["id"].endswith("test_lab[bookworm-i386-2]"), failed


def test_a_project_may_have_a_fixture_called_guest(project: Path, run: Run) -> None:
    (project / "test_made_up.py").write_text(GUEST_OF_ITS_OWN, encoding="ascii")
    done = run("--guest=bookworm-arm64", "--guest=bookworm-i386", "--results=report.json")
    assert "1 passed" in done.stdout, done.stdout
    assert names_of(project) == {"test_it": None}
    assert reported(project)["guests"] == []


@pytest.mark.parametrize(
    ("test", "words", "said"),
    [
        (TEST_CASE, TWO, "a test of a unittest.TestCase can't be run in several guests"),
        (SEVERAL, ("--ssh=127.0.0.1", *TWO), "--ssh names the guest: without --guest"),
        (SEVERAL, ("--ssh=127.0.0.1:9", "--ssh-key=/nosuch", "--tx=2*popen", "--dist=load"),
         "which the workers of pytest-xdist can't share"),
    ],
)  # fmt: skip
def test_what_can_not_be_run_in_several_guests_is_wrong_usage(
    several: Path, run: Run, test: str, words: tuple[str, ...], said: str
) -> None:
    (several / "test_made_up.py").write_text(test, encoding="ascii")
    assert is_refused(run(*words), said)


def test_a_fixture_that_is_asked_for_too_late_is_an_error(several: Path, run: Run) -> None:
    test = "def test_it(request):\n    request.getfixturevalue('lab')\n"
    (several / "test_made_up.py").write_text(test, encoding="ascii")
    assert "has to take its fixtures as arguments" in run(*TWO).stdout
    assert "1 passed" in run(TWO[0]).stdout


def test_a_guest_that_is_not_there_fails_its_tests_in_a_line(several: Path, run: Run) -> None:
    (several / "conftest.py").write_text("", encoding="ascii")
    (several / "test_made_up.py").write_text(
        "def test_one(lab):\n    pass\ndef test_two(lab):\n    pass\n", encoding="ascii"
    )
    done = run("--guest=bookworm-arm64", "--guest=trixie-arm64", PYHARNESS_CACHE=__file__)
    assert "4 errors" in done.stdout
    assert done.stdout.count("HostError") >= 4
    assert "attend" not in done.stdout
    assert len(done.stdout.splitlines()) < 80, done.stdout
