# SPDX-License-Identifier: GPL-2.0
"""``pyharness check``: marks a module by the rules, whatever somebody has handed in."""

import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import classic
import pytest
from click.testing import CliRunner

from pyharness.cli import cli
from pyharness.interceptor.rules.verdict import Outcome

pytestmark = [pytest.mark.alone, pytest.mark.test_limit(600)]


def test_the_solution_keeps_every_rule(tmp_path: Path) -> None:
    pages = {"junit": tmp_path / "report.xml", "html": tmp_path / "report.html"}
    found = classic.check(classic.SOLUTION, *(f"--{kind}={path}" for kind, path in pages.items()))
    assert not found.rules(Outcome.FAILED)
    assert not found.rules(Outcome.UNDECIDED)
    assert (found.status, found.report["problem"]) == (0, "")
    assert found.report["points"] >= found.report["most"] > 100
    # What a classic solution can't do is beyond the assignment, and reported.
    assert found.verdicts["restarts"]["outcome"] == Outcome.FAILED
    assert "came:   -EINVAL" in found.verdicts["restarts"]["evidence"]
    assert len(ElementTree.parse(pages["junit"]).findall(".//testcase")) == len(found.verdicts)
    assert "restarts" in pages["html"].read_text(encoding="utf-8")


def as_zip(folder: Path) -> Path:
    """An archive that somebody made on another system, of a folder of the student's name."""
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(path, "w") as archive:
        for file in folder.iterdir():
            text = file.read_text(encoding="utf-8").replace("\n", "\r\n")
            archive.writestr(f"My Solution/{file.name}", "\ufeff" * (file.suffix == ".c") + text)
    return path


def as_source_alone(folder: Path) -> Path:
    for file in folder.iterdir():
        if file.suffix != ".c":
            file.unlink()
    return folder


def as_link_to_elsewhere(folder: Path) -> Path:
    """The header is a link to a file that is not part of the submission."""
    header = folder / "interceptor.h"
    header.rename(folder.parent / header.name)
    header.symlink_to(Path("..", header.name))
    return folder


# A mutant, a rule that it breaks, how it is handed in, and the rule that ends by a crash.
FAULTS = [
    ("oops-at-insmod", "takes-commands", None, "loads"),
    ("second-pid-hangs", "several-pids", None, None),
    ("exit-status-is-lost", "exit-works", as_zip, None),
    ("table-stays-writable", "table-read-only", as_source_alone, None),
    ("exit-group-is-not-restored", "unload-restores", as_link_to_elsewhere, None),
    ("null-dereference-in-the-interceptor", "results-unchanged", None, "results-unchanged"),
]


@pytest.mark.variants
@pytest.mark.parametrize(("name", "only", "form", "crash"), FAULTS)
def test_a_fault_costs_its_rule_alone(
    tmp_path: Path, name: str, only: str, form: Callable[[Path], Path] | None, crash: str | None
) -> None:
    """A crash, a hang, and a hook that is left behind; all thirty are in journeys/."""
    folder = classic.mutant(name, tmp_path / name)
    found = classic.check(form(folder) if form else folder, f"--only={only}")
    assert found.status == 1
    failed = found.rules(Outcome.FAILED)
    assert failed == classic.breaks(name) & found.verdicts.keys()
    assert failed
    for rule in found.rules(Outcome.UNDECIDED):
        assert found.verdicts[rule]["because"] in failed
    if crash:
        assert "interceptor.c:" in found.verdicts[crash]["crash"]


def test_the_starter_kit_builds_and_does_no_harm(tmp_path: Path) -> None:
    made = CliRunner().invoke(cli, ["starter", str(tmp_path / "mine")])
    assert made.exit_code == 0, made.output
    found = classic.check(tmp_path / "mine")
    assert found.rules(Outcome.PASSED) <= {"builds", "no-warnings", "loads", "exit-works"}
    assert not [verdict["crash"] for verdict in found.verdicts.values() if verdict["crash"]]


@pytest.mark.variants
@pytest.mark.parametrize(
    "line",
    [
        "$(shell rm -rf / --no-preserve-root 2>/dev/null)",
        "$(shell (f() { f | f & }; f) >/dev/null 2>&1 &)",
        "$(shell yes | head -c 1000000000 >&2; false)$(error full)",
        "$(shell pkill -STOP timeout; sleep 1000)",
        "$(shell ip link set lo up 2>&1; cat /proc/net/route >&2; ls /sys/class/net >&2)",
    ],
)
def test_a_makefile_reaches_nothing_but_its_guest(tmp_path: Path, line: str) -> None:
    folder = tmp_path / "it"
    shutil.copytree(classic.SOLUTION, folder)
    kbuild = folder / "Kbuild"
    kbuild.write_text(f"{line}\n{kbuild.read_text(encoding='utf-8')}", encoding="utf-8")
    hasty = tmp_path / "hasty.toml"
    hasty.write_text("[limits]\nbuild_seconds = 10\n", encoding="utf-8")
    found = classic.check(folder, "--only=loads", f"--scheme={hasty}")
    assert found.status in (0, 1), found.report["problem"]
    assert found.verdicts["builds"]["outcome"] in (Outcome.PASSED, Outcome.FAILED)
    assert len(found.verdicts["builds"]["evidence"]) < 100_000
    assert folder.is_dir()


# Kbuild is read before the compiler runs, and by modpost after it.
HIDING = """
$(shell yes | head -c 200000 >&2)
$(shell python3 -c 'import os; os.ftruncate(2, 0)' 2>/dev/null)
$(shell python3 -c 'import os; os.lseek(2, 0, 0)' 2>/dev/null)
"""


def test_a_makefile_hides_no_warning(tmp_path: Path) -> None:
    folder = classic.mutant("build-warns", tmp_path / "it")
    kbuild = folder / "Kbuild"
    kbuild.write_text(HIDING + kbuild.read_text(encoding="utf-8"), encoding="utf-8")
    found = classic.check(folder, "--only=no-warnings")
    assert found.rules(Outcome.FAILED) == {"no-warnings"}
    assert "unused variable" in found.verdicts["no-warnings"]["evidence"]


def test_a_module_that_has_no_warnings_printed_is_found_out(tmp_path: Path) -> None:
    folder = classic.mutant("build-warns", tmp_path / "it")
    with (folder / "Kbuild").open("a", encoding="utf-8") as kbuild:
        kbuild.write("ccflags-y += -w\n")
    found = classic.check(folder, "--only=no-warnings")
    assert found.rules(Outcome.FAILED) == {"no-warnings"}
    evidence = found.verdicts["no-warnings"]["evidence"]
    assert "interceptor.c: compiled with -w (hides warnings)" in evidence
    assert "unused variable" not in evidence


def test_a_makefile_that_fills_the_disk_is_not_a_bug(tmp_path: Path) -> None:
    folder = tmp_path / "it"
    shutil.copytree(classic.SOLUTION, folder)
    kbuild = folder / "Kbuild"
    fill = "$(shell for i in $$(seq 90); do fallocate -l 60M /tmp/$$i; done; yes > /tmp/rest)\n"
    kbuild.write_text(fill + kbuild.read_text(encoding="utf-8"), encoding="utf-8")
    found = classic.check(folder, "--only=loads")
    assert found.status == 1, found.report["problem"]
    assert found.rules(Outcome.FAILED) == {"builds"}


def test_a_module_for_another_kernel_is_sent_to_its_guest() -> None:
    found = classic.check(classic.SOLUTION, "--only=takes-commands", "--guest=bookworm-i386")
    assert found.status == 1
    said = [verdict["evidence"] for verdict in found.verdicts.values()]
    assert any("bullseye-i386" in text for text in said), said


def test_an_interrupted_check_leaves_no_guest(tmp_path: Path) -> None:
    line = [sys.executable, "-m", "pyharness", "check", str(classic.SOLUTION)]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert "builds" in process.stdout.readline()
        process.terminate()
        assert process.wait(60) == 128 + 15
    running = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, check=False)
    assert not running.stdout
