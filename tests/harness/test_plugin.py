# SPDX-License-Identifier: GPL-2.0
"""The pytest plugin, in a project that has nothing else: the example, and tests made up here."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from suites import run_project as run

from pyharness import Guest, UsageError
from pyharness.linux import kernel_release
from pyharness.pytest_plugin import watching
from pyharness.pytest_plugin.results import OUTCOMES, Report

TESTS = """
import pytest

def test_pass(guest, record_property):
    record_property("answer", 42)
    assert guest.run("true").status == 0

def test_fail(guest, kernel_log):
    guest.run("echo '<4>made up' > /dev/kmsg")
    assert "made up" in [record.text for record in kernel_log()]
    assert guest.run("false").status == 0, "as it should"

@pytest.mark.cpus(3)
def test_cpus(guest):
    assert guest.run("nproc").stdout == "3\\n"

@pytest.mark.fresh_guest
def test_fresh(guest):
    assert guest.run("mkdir /root/fresh").status == 0

@pytest.mark.fresh_guest
def test_fresh_again(guest):
    assert guest.run("mkdir /root/fresh").status == 0

@pytest.mark.kernel(">=5", "<99")
def test_kernel(actor):
    assert actor("nobody").syscall("getppid").errno == 0

@pytest.mark.kernel(">=99")
def test_no_such_kernel(guest):
    raise AssertionError

@pytest.mark.architecture("OTHER")
def test_no_such_architecture(guest):
    raise AssertionError

def test_without_a_guest():
    pass

WARN = "echo '<4>WARNING: CPU: 0 PID: 1 at made_up.c:1 made_up+0x1/0x2' > /dev/kmsg"

@pytest.mark.expects_warning(r"at made_up\\.c:1 ")
def test_warned(guest):
    guest.run(f"{WARN}; touch /root/warned").check()

@pytest.mark.expects_warning("never said")
def test_after_it(guest):
    assert guest.run("test -e /root/warned").status == 1, "it has the guest that was warned in"
    assert "WARNING" not in guest.run("dmesg").stdout

@pytest.mark.expects_warning("another", "at made_up")
def test_one_of_two_warned(guest):
    guest.run(WARN)
"""


@pytest.fixture
def project(tmp_path: Path, guest: Guest) -> Path:
    (tmp_path / "pytest.ini").write_text("[pytest]\nguest = default\n", encoding="ascii")
    other = next(name for name in ("arm64", "i386") if name != guest.facts.architecture)
    (tmp_path / "test_made_up.py").write_text(TESTS.replace("OTHER", other), encoding="ascii")
    return tmp_path


RESTING = """
import pytest

@pytest.fixture(scope="session")
def kept(lab):
    return lab.guest()

def test_first(kept):
    kept.run("true").check()

def test_without_a_guest(request):
    assert request.getfixturevalue("kept").backend.status() == "paused"

def test_again(kept):
    assert kept.backend.status() == "running"
    kept.run("true").check()
"""


@pytest.mark.alone
def test_a_guest_rests_during_tests_that_need_none(guest: Guest, tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\n", encoding="ascii")
    (tmp_path / "test_made_up.py").write_text(RESTING, encoding="ascii")
    done = run(tmp_path, guest)
    assert "3 passed" in done.stdout, done.stdout


INTERRUPTED = """
import os
import pathlib
import signal

import pytest

WARN = "echo '<4>WARNING: CPU: 0 PID: 1 at made/up.c:1 f+0x0/0x1' > /dev/kmsg"

def test_first(guest):
    HOW
    guest.run("sleep 60", seconds=60)

def test_second(guest):
    pass
"""


@pytest.mark.variants
@pytest.mark.alone
@pytest.mark.parametrize(
    "how",
    [
        'pathlib.Path("ready").touch()',  # and both it and QEMU get SIGINT, as from a terminal
        "guest.run(WARN).check(); os.kill(os.getpid(), signal.SIGINT)",
        "guest.run(WARN).check(); pytest.exit('enough')",
    ],
)
def test_an_interrupted_run_ends(guest: Guest, tmp_path: Path, how: str) -> None:
    """Whatever the kernel has reported, and whoever else is interrupted."""
    (tmp_path / "pytest.ini").write_text("[pytest]\n", encoding="ascii")
    (tmp_path / "test_made_up.py").write_text(INTERRUPTED.replace("HOW", how), encoding="ascii")
    # A shell has what it runs in the background ignore SIGINT.
    line = ["env", "--default-signal=INT", sys.executable, "-m", "pytest"]
    line += ["-p", "no:cacheprovider", "-p", "no:randomly"]
    with subprocess.Popen(
        [*line, f"--guest={guest.facts.name}", "--results=report.json"],
        cwd=tmp_path,
        env=os.environ | {"PYHARNESS_RUN": str(tmp_path / "run"), "PYTEST_ADDOPTS": ""},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        if "ready" in how:
            while not (tmp_path / "ready").exists():
                assert process.poll() is None
                time.sleep(0.1)
            os.killpg(process.pid, signal.SIGINT)
        said, _ = process.communicate()
    assert process.returncode == pytest.ExitCode.INTERRUPTED, said
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert report["outcome"] == "interrupted"
    assert not [test for test in report["tests"] if test["id"].endswith("test_second")]
    assert not list((tmp_path / "run").glob("*"))


SEVERAL = """
import pytest

def test_name(guest):
    assert guest.run(["uname", "-r"]).stdout.strip() == guest.facts.release

@pytest.mark.architecture("i386")
def test_i386(guest):
    assert guest.facts.architecture == "i386"

def test_without_a_guest():
    pass

@pytest.mark.parametrize("number", [1, 2])
def test_numbers(root, number):
    assert root.syscall("getpid").value
"""


@pytest.mark.variants
@pytest.mark.alone
@pytest.mark.test_limit(600)
@pytest.mark.parametrize("workers", [(), ("-n", "2")])
def test_each_test_is_run_in_each_guest(
    guest: Guest, tmp_path: Path, workers: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of which can't be started: its tests fail, those of the other pass."""
    other = "bullseye-amd64" if guest.facts.name != "bullseye-amd64" else "trixie-amd64"
    # It can't be started, whatever this host has.
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    (tmp_path / "sitecustomize.py").write_text(
        "from pyharness.errors import HostError\n"
        "from pyharness.machine import saved_states\n"
        "ensure = saved_states.ensure\n"
        "def refused(spec, **more):\n"
        f"    if spec.name == {other!r}:\n"
        "        raise HostError('no such thing')\n"
        "    return ensure(spec, **more)\n"
        "saved_states.ensure = refused\n",
        encoding="ascii",
    )
    (tmp_path / "pytest.ini").write_text("[pytest]\n", encoding="ascii")
    (tmp_path / "test_made_up.py").write_text(SEVERAL, encoding="ascii")
    done = run(tmp_path, guest, f"--guest={other}", *workers, "--results=report.json")
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert done.stdout.count(f"guest: {guest.facts.name}, kernel {guest.facts.release}") == 1
    assert f"guest: {other}: no such thing" in done.stdout
    name = guest.facts.name
    by_id = {test["id"].split("::")[1]: test for test in report["tests"]}
    i386 = {f"test_i386[{name}]"} if guest.facts.architecture == "i386" else set()
    passed = {f"test_name[{name}]", f"test_numbers[{name}-1]", f"test_numbers[{name}-2]"} | i386
    failed = {f"test_name[{other}]", f"test_numbers[{other}-1]", f"test_numbers[{other}-2]"}
    assert {name for name, test in by_id.items() if test["outcome"] == "passed"} == passed | {
        "test_without_a_guest"
    }
    assert {name for name, test in by_id.items() if test["outcome"] == "error"} == failed
    assert by_id[f"test_name[{name}]"]["guest"] == name
    assert [one["name"] for one in report["guests"]] == [name, other]


@pytest.mark.variants
@pytest.mark.alone
@pytest.mark.test_limit(300)
@pytest.mark.parametrize("workers", [(), ("-n", "2")])
def test_fixtures_markers_and_report(guest: Guest, project: Path, workers: tuple[str, ...]) -> None:
    done = run(project, guest, *workers, "--results=out/report.json", "--accel=tcg")
    said = done.stdout
    assert f"guest: {guest.facts.name}, kernel {guest.facts.release}, tcg (" in said
    assert "kernel log of this test" in said
    assert "made up" in said.split("kernel log of this test")[1]
    report = json.loads((project / "out" / "report.json").read_text(encoding="utf-8"))
    outcome = {test["id"].split("::")[1]: test["outcome"] for test in report["tests"]}
    wanted = ("pass", "cpus", "fresh", "fresh_again", "kernel", "without_a_guest", "warned")
    fails = ("fail", "after_it", "one_of_two_warned")
    assert outcome == {f"test_{name}": "passed" for name in wanted} | {
        f"test_{name}": "failed" for name in fails
    }
    assert report["outcome"] == "failed"
    assert report["counts"] == dict.fromkeys(OUTCOMES, 0) | {"failed": 3, "passed": 7}
    assert [one["kernel"] for one in report["guests"]] == [guest.facts.release]
    by_name = {test["id"].split("::")[1]: test for test in report["tests"]}
    assert by_name["test_pass"]["properties"] == {"answer": 42}
    assert "as it should" in by_name["test_fail"]["message"]
    for name, missing in (("after_it", "never said"), ("one_of_two_warned", "another")):
        assert f"did not come: '{missing}'" in by_name[f"test_{name}"]["message"]
        assert f"::test_{name} - pyharness.errors.CheckFailed" in said
    assert "pytest_plugin.py" not in said
    assert (project / by_name["test_fail"]["console"]).is_file()


DEBUGGED = """
def test_it_fails(guest):
    assert guest.run("false").status == 0

def test_it_closes_its_guest(guest):
    guest.close()

def test_it_uses_a_closed_guest(guest):
    guest.close()
    guest.run("true")

def test_the_next_has_another(guest):
    guest.run("true").check()
"""


@pytest.mark.alone
@pytest.mark.test_limit(300)
def test_the_guest_lives_as_long_as_the_debugger(guest: Guest, project: Path) -> None:
    (project / "test_made_up.py").write_text(DEBUGGED, encoding="ascii")
    asked = "print(guest.run('echo lives $((40 + 2))').stdout)\nc\nc\nc\n"
    said = run(project, guest, "--pdb", stdin=asked).stdout
    assert "lives 42" in said, said
    assert said.count("UsageError: the test or one of its fixtures closed the shared guest") >= 2
    assert "3 failed, 1 passed" in said
    assert "does not run any more" not in said


@pytest.mark.alone
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--ssh=no:where",), "'no:where' is not a HOST:PORT"),
        (("--ssh=127.0.0.1:1", "--ssh-key=/nosuch"), "/nosuch, the private key, can't be read"),
        (("--guest=vagrant",), "has no Vagrantfile"),
        (("--guest=nosuch",), "no guest is called 'nosuch'"),
    ],
)
def test_bad_options_are_one_sentence(project: Path, words: tuple[str, ...], message: str) -> None:
    done = run(project, None, *words)
    assert message in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert done.returncode == pytest.ExitCode.USAGE_ERROR


def test_kernels_are_compared_as_far_as_it_is_said() -> None:
    release = "6.1.0-50-686-pae"
    assert kernel_release.matches(release, (">=6.1", "<7", "==6", ">5.10", "<=6.1"))
    for wanted in (">6.1", "<6.1", "==5", ">=6.1.1", "<=5.10"):
        assert not kernel_release.matches(release, (wanted,)), wanted
    with pytest.raises(UsageError, match=r"write '>=6\.1'"):
        kernel_release.matches(release, ("6.1",))


def test_a_report_has_the_worst_of_each_test() -> None:
    report = Report(0.0)
    report.add("b", "setup", "passed", seconds=1)
    report.add("b", "call", "failed", seconds=2, message="no", properties={"n": 1, "console": "c"})
    report.add("b", "teardown", "failed", seconds=1, message="worse")
    report.add("a", "setup", "skipped", seconds=0)
    report.add("a", "teardown", "passed", seconds=0)
    whole = report.as_json([], 10.0, 1)
    assert [test["id"] for test in whole["tests"]] == ["a", "b"]
    assert whole["tests"][1] == {
        "id": "b", "outcome": "error", "seconds": 4, "message": "worse",
        "properties": {"n": 1}, "console": "c", "guest": None,
    }  # fmt: skip
    assert whole["counts"] == dict.fromkeys(OUTCOMES, 0) | {"error": 1, "skipped": 1}
    assert (whole["outcome"], whole["seconds"], whole["guests"]) == ("failed", 10, [])


@pytest.mark.parametrize(
    ("exit_status", "outcome"),
    [
        (0, "passed"),
        (2, "interrupted"),
        (3, "failed"),
        (4, "failed"),
        (5, "no tests"),
        (77, "failed"),
    ],
)
def test_a_report_has_the_outcome_of_the_run(exit_status: int, outcome: str) -> None:
    report = Report(0.0)
    report.add("a", "call", "passed", seconds=1)
    whole = report.as_json([], 1.0, exit_status)
    assert (whole["outcome"], whole["exit_status"]) == (outcome, exit_status)
    report.add("test_b.py", "collect", "failed", seconds=0, message="SyntaxError")
    whole = report.as_json([], 1.0, exit_status)
    assert (whole["outcome"], whole["counts"]["error"]) == ("failed", 1)


def test_each_test_has_a_console_of_its_own() -> None:
    names = (
        "tests/test_a.py::test_b", "tests-test_a.py::test_b", "test_a.py::test_b[1]",
        "test_a.py::test_b[1-]", "test_a.py::test_b[é]", "test_a.py::test_b[\udcff]",
        "é" * 200 + ".py", "é" * 201 + ".py", "a" * 300 + "b", "a" * 300 + "c",
    )  # fmt: skip
    files = [watching.console_name(name) for name in names]
    assert files[0] == "tests-test_a.py-test_b.console.log"
    assert len(set(files)) == len(files)
    assert all(len(file.encode()) < 256 for file in files)
