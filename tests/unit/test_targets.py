# SPDX-License-Identifier: GPL-2.0
"""The guests of a run, as --guest names them; and what a test's time limit counts. No guest."""

import subprocess
from pathlib import Path

import matrix
import pytest
from suites import PYTEST

from pyharness import UsageError
from pyharness.machine import guest_specs
from pyharness.pytest_plugin import target
from pyharness.pytest_plugin.by_guest import ByGuest

TESTS = """
import subprocess
import time

import pytest

def test_sleeps():
    time.sleep(60)

@pytest.mark.test_limit(60)
def test_has_more():
    time.sleep(2)

def test_is_fast():
    pass

def test_catches_everything():
    for _ in range(2):
        try:
            time.sleep(60)
        except BaseException:
            return

def test_waits_again():
    with subprocess.Popen(["sleep", "60"]) as process:
        process.wait()

@pytest.mark.test_limit(seconds=60)
def test_gives_it_by_name():
    pass
"""
# A test that catches the end of its time is ended again soon.
SOONER = """
from pyharness.pytest_plugin import time_limit

time_limit._LOOK_SECONDS = 0.1
time_limit._AGAIN_SECONDS = 1.0
"""


@pytest.mark.parametrize(
    ("named", "found"),
    [
        (["bookworm-amd64"], ["bookworm-amd64"]),
        (["trixie-arm64", "bookworm-amd64", "trixie-arm64"], ["trixie-arm64", "bookworm-amd64"]),
        (["bullseye-*"], ["bullseye-i386", "bullseye-amd64"]),
        (["*-arm64", "bullseye-*"], ["bookworm-arm64", "trixie-arm64", "bullseye-i386",
          "bullseye-amd64"]),
        (["vagrant"], ["vagrant"]),
        (["all"], [*guest_specs.load()]),
    ],
)  # fmt: skip
def test_guests_are_named_by_name_pattern_and_all(named: list[str], found: list[str]) -> None:
    if len(found) > 2:
        assert {*target._expanded(named)} == {*found}
    else:
        assert target._expanded(named) == found


@pytest.mark.parametrize("wrong", ["nosuch-*", "[x]"])
def test_a_pattern_that_matches_no_guest_is_refused(wrong: str) -> None:
    with pytest.raises(UsageError, match="no guest matches"):
        target._expanded(["bookworm-i386", wrong])


def test_a_worker_gets_all_tests_of_a_guest(pytestconfig: pytest.Config) -> None:
    pytestconfig.option.tx = ["popen"]
    scheduler = ByGuest(pytestconfig, None, ["bookworm", "bookworm-amd64", "trixie-amd64"])
    split = scheduler._split_scope
    assert split("t.py::test[bookworm-amd64]") == "bookworm-amd64"
    assert split("t.py::test[bookworm-amd64-a-b]") == "bookworm-amd64"
    assert split("t.py::test[bookworm-a]") == "bookworm"
    assert split("t.py::test_none[a]") == "t.py::test_none[a]"


@pytest.mark.parametrize("words", [("--test-limit=1",), ("-o", "test_limit=1")])
def test_a_test_that_takes_too_long_is_ended(tmp_path: Path, words: tuple[str, ...]) -> None:
    (tmp_path / "conftest.py").write_text(SOONER, encoding="ascii")
    (tmp_path / "test_made_up.py").write_text(TESTS, encoding="ascii")
    done = subprocess.run(
        [*PYTEST, *words], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert "3 failed, 3 passed" in done.stdout, done.stdout
    assert "the test did not end within 1 s in which its guests could run" in done.stdout
    assert "    time.sleep(60)" in done.stdout


@pytest.mark.parametrize(
    "wrong",
    [
        "test_limit(-1)",
        "test_limit()",
        "test_limit('a')",
        "test_limit(float('nan'))",
        "test_limit(s=1)",
    ],
)
def test_a_limit_that_is_no_number_is_refused(tmp_path: Path, wrong: str) -> None:
    text = f"import pytest\n@pytest.mark.{wrong}\ndef test_it():\n    pass\n"
    (tmp_path / "test_made_up.py").write_text(text, encoding="ascii")
    done = subprocess.run(PYTEST, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "test_limit takes a number of seconds, such as 60" in done.stderr


# ---- the table of a run over several guests ----


def test_the_table_has_a_row_for_each_guest_and_method() -> None:
    phases = [
        matrix.Phase("a", "trixie-amd64", "handler", "passed", 60),
        matrix.Phase("a", "trixie-amd64", "handler", "failed", 60),
        matrix.Phase("b", "trixie-amd64", "handler", "passed", 60),
        matrix.Phase("c", "bullseye-i386", "table", "passed", 10),
    ]
    rows = matrix.table(phases, {"trixie-amd64": "6.12"}, "full").splitlines()
    assert rows[2:] == [
        "| `bullseye-i386` | ? | table | all | 1 passed | 0 min |",
        "| `trixie-amd64` | 6.12 | handler | all | 1 of 2 failed | 3 min |",
    ]


def test_each_extent_names_files_that_there_are() -> None:
    tests = Path(__file__).parents[1]
    for files in matrix.EXTENTS.values():
        for file in files:
            path, _, test = file.partition("::")
            assert (tests / path).exists(), file
            assert not test or f"def {test}(" in (tests / path).read_text(encoding="utf-8")
    assert matrix.EXTENT.keys() <= guest_specs.load().keys()
    assert matrix.is_in("all", Path("soak/test_log.py"), "test_it")
    assert not matrix.is_in("core", Path("soak/test_log.py"), "test_it")
    assert matrix.is_in("core", Path("contract/test_unload.py"), "test_it")
    assert matrix.is_in("brief", Path("contract/test_load.py"), "test_modinfo_and_build_are_clean")
    assert not matrix.is_in("brief", Path("contract/test_load.py"), "test_it")
