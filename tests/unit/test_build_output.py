# SPDX-License-Identifier: GPL-2.0
"""Warnings are found wherever they are in what make prints; this host stands in for the guest."""

import subprocess
from pathlib import Path

import pytest

from pyharness.interceptor.rules import build_output
from pyharness.transport.ssh import Completed

WARNING = "it.c:1:5: warning: unused variable [-Wunused-variable]"


def run(line: str) -> Completed:
    done = subprocess.run(["sh", "-c", line], capture_output=True, check=False)
    out, err = (stream.decode(errors="replace") for stream in (done.stdout, done.stderr))
    return Completed(command=line, status=done.returncode, stdout=out, stderr=err)


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "it's output"


@pytest.mark.parametrize("size", [0, 64 << 10, 3 << 20])
def test_a_warning_after_much_output_is_found(output: Path, size: int) -> None:
    noise = "Skipping BTF generation, a warning: of the guest's\n"
    before = noise * (size // len(noise))
    output.write_text(f"{before}\0\x1b {'x' * 2000}\n{WARNING}\n{before}", encoding="utf-8")
    assert build_output.warnings(run, str(output)) == (WARNING,)


def test_of_many_warnings_the_first_are_returned(output: Path) -> None:
    output.write_text(f"{WARNING}{'!' * 5000}\n" * 10_000, encoding="utf-8")
    found = build_output.warnings(run, str(output))
    assert 10 < len(found) < 100
    assert found[0].startswith(WARNING)


@pytest.mark.parametrize("text", ["", "  CC [M]  it.o\n", "forewarning:s\n"])
def test_where_there_is_no_warning_none_is_found(output: Path, text: str) -> None:
    output.write_text(text, encoding="utf-8")
    assert build_output.warnings(run, str(output)) == ()
    assert build_output.read(run, str(output)) == text


def test_the_begin_and_the_end_of_a_long_output_are_read(output: Path) -> None:
    output.write_text("begin\n" + "x\n" * 100_000 + "make: *** it.o: Error 1\n", encoding="utf-8")
    found = build_output.read(run, str(output))
    assert found.startswith("begin\n")
    assert found.endswith("make: *** it.o: Error 1\n")
    assert "\n(… 134,494 bytes left out …)\n" in found
    assert len(found) < 66_000
