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


# The end of a command line as Kbuild of 6.12 keeps it.
COMMAND = (
    "savedcmd_/srv/it.o := gcc -Wno-trigraphs -w -g -Wno-restrict -g -g {} -DMODULE"
    " -DKBUILD_MODNAME='\"it\"' -c -o /srv/it.o /srv/it.c ; ./tools/objtool/objtool /srv/it.o\n"
)


@pytest.mark.parametrize("options", ["-w", "-Wno-unused -Wno-all"])
def test_an_option_that_hides_warnings_is_named(tmp_path: Path, options: str) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / ".it.o.cmd").write_text(COMMAND.format(f"-DX {options}"), encoding="utf-8")
    wanted = f"/srv/it.c: compiled with {options} (hides warnings)"
    assert build_output.hidden(run, str(tmp_path)) == (wanted,)


def test_a_pragma_that_hides_warnings_is_named(tmp_path: Path) -> None:
    pragma = '# pragma  GCC diagnostic ignored "-Wunused-variable"'
    (tmp_path / "it.h").write_text(f"int a;\n {pragma}\n", encoding="utf-8")
    assert build_output.hidden(run, str(tmp_path)) == (f"./it.h: {pragma} (hides warnings)",)


def test_what_hides_no_warning_is_not_named(tmp_path: Path) -> None:
    text = COMMAND.format("-Wall -Wno-error -Wno-error=unused -Wp,-w -Dx=-w")
    (tmp_path / ".it.o.cmd").write_text(text, encoding="utf-8")
    (tmp_path / "it.c").write_text("/* #pragma GCC diagnostic */\n#pragma once\n", encoding="utf-8")
    assert build_output.hidden(run, str(tmp_path)) == ()
