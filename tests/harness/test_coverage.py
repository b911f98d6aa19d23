# SPDX-License-Identifier: GPL-2.0
"""Which lines of a module have run, on kernels that know nothing of it."""

import re
import shutil
from pathlib import Path

import pytest
from suites import run_project

from pyharness import Guest

MODULE = Path(__file__).parents[1] / "modules" / "counted"
TESTS = """
import pytest

from pyharness import ModuleRefused

ADD = "/sys/module/counted/parameters/add"

def test_calls(guest, module):
    for _ in range(3):
        guest.run(f"echo call > {ADD}").check()

def test_it_does_not_load(guest, module_folder):
    with pytest.raises(ModuleRefused):
        guest.load(module_folder, result=-12)

def test_a_copy_counts_apart(guest, module_folder, tmp_path):
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in module_folder.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    (copy / "counted.c").write_text((module_folder / "counted.c").read_text() + "/* other */")
    guest.load(copy).unload()

def test_crash(guest, module):
    guest.run(f"echo call > {ADD}").check()
    guest.run(f"echo crash > {ADD}")
"""

pytestmark = [pytest.mark.alone, pytest.mark.test_limit(600)]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with that module, and with tests of it."""
    folder = tmp_path / "project"
    shutil.copytree(MODULE, folder / "module")
    (folder / "pytest.ini").touch()
    (folder / "test_counted.py").write_text(TESTS, encoding="ascii")
    return folder


def counts_of(project: Path) -> dict[str, int]:
    """How often each line ran that ends with a comment, by the comment."""
    lcov = (project / "artifacts/module-coverage/module.lcov").read_text(encoding="utf-8")
    assert re.findall(r"^SF:(?:.*/)?([^/\n]*)$", lcov, re.MULTILINE) == ["counted.c"]
    ran = {int(line): int(count) for line, count in re.findall(r"^DA:(\d+),(\d+)", lcov, re.M)}
    text = (project / "module/counted.c").read_text(encoding="ascii").splitlines()
    return {
        found[1]: ran.get(number, -1)
        for number, line in enumerate(text, 1)
        if (found := re.search(r"; /\* (\w+) \*/", line))
    }


# GCC 10, that of bullseye, can't tell where the counters are.
@pytest.mark.kernel(">=6")
def test_what_runs_is_counted(guest: Guest, project: Path) -> None:
    """At init and exit, in a load that fails, up to a crash, and by all workers together."""
    limit = "--module-coverage-fail-under=99"
    formats = ("--module-coverage", "--module-coverage=lcov", "--module-coverage=html", limit)
    done = run_project(project, guest, "-n", "2", *formats)
    assert "1 failed, 3 passed" in done.stdout, done.stdout
    assert re.search(r"module/counted\.c +\d+ +\d+ +\d+%", done.stdout), done.stdout
    assert "fewer than 99 % of the lines have run" in done.stdout
    assert counts_of(project) == {"never": 0, "crashes": 1, "called": 4, "loaded": 3, "unloaded": 1}
    html = project / "artifacts/module-coverage/html/index.html"
    assert "counted.c" in html.read_text(encoding="utf-8")


@pytest.mark.kernel(">=6")
def test_too_few_lines_fail_the_run(guest: Guest, project: Path) -> None:
    words = ("-k", "test_calls", "--module-coverage")
    done = run_project(project, guest, *words, "--module-coverage-fail-under=99")
    assert done.returncode == 1, done.stdout
    assert "1 passed" in done.stdout
    assert run_project(project, guest, *words, "--module-coverage-fail-under=10").returncode == 0


@pytest.mark.kernel("<6")
def test_a_compiler_that_is_too_old_is_named(guest: Guest, project: Path) -> None:
    done = run_project(project, guest, "-k", "test_calls", "--module-coverage")
    assert "it is older than GCC 11; take a guest of a later suite" in done.stdout, done.stdout
