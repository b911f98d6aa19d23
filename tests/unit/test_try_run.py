# SPDX-License-Identifier: GPL-2.0
"""The makefile of an image that answers Kbuild's tests of the compiler from a file."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from pyharness.host import bundled
from pyharness.machine.image import MAKEFILES

# The end of scripts/Makefile.compiler of Linux 6.1, with two tests of a compiler, ./cc.
KBUILD = """TMPOUT = .tmp_$$$$
try-run = $(error Kbuild's own try-run is used)
option = $(call try-run,./cc -Werror $(1) -c -x c /dev/null -o "$$TMP",$(1),$(2))
$(info $(call option,-fgood,)|$(call option,-fbad,-fother)|$(call option,-fbad))
all: ;
"""
COMPILER = """#!/bin/sh
echo "$*" >> asked
: > "$8"
[ "$2" = -fgood ]
"""
FOUND = "-fgood|-fother|\n"
WORD = './cc^-Werror^{}^-c^-x^c^/dev/null^-o^"$TMP"'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a makefile that tests a compiler, and with the file of the image."""
    name = MAKEFILES.rpartition("/")[2]
    shutil.copy(bundled.VM / "rootfs" / MAKEFILES.removeprefix("/"), tmp_path / name)
    (tmp_path / "Makefile").write_text(KBUILD, encoding="ascii")
    (tmp_path / "cc").write_text(COMPILER, encoding="ascii")
    (tmp_path / "cc").chmod(0o755)
    return tmp_path


def make(folder: Path, **environment: str) -> str:
    name = MAKEFILES.rpartition("/")[2]
    variables = {**os.environ, "MAKEFILES": str(folder / name), "MAKEFLAGS": "", **environment}
    line = ["make", "-s", "-C", str(folder), "--no-print-directory"]
    return subprocess.run(
        line, env=variables, capture_output=True, text=True, check=True
    ).stdout.removesuffix("make: Nothing to be done for 'all'.\n")


def asked(folder: Path) -> int:
    """Return how often the compiler ran since the last call."""
    file = folder / "asked"
    count = len(file.read_text(encoding="ascii").splitlines()) if file.exists() else 0
    file.unlink(missing_ok=True)
    return count


def test_without_answers_the_compiler_is_asked(folder: Path) -> None:
    for _ in range(2):
        assert make(folder) == FOUND
        assert asked(folder) == 3
    assert {path.name for path in folder.iterdir()} == {"Makefile", "cc", "try-run.mk"}


def test_answers_are_recorded_once_and_used(folder: Path) -> None:
    assert make(folder, TRY_RUN_RECORD="1") == FOUND
    asked(folder)
    answers = (folder / "answers").read_text(encoding="ascii")
    assert set(answers.split()) == {
        f"y<{WORD.format('-fgood')}>", f"n<{WORD.format('-fbad')}>"
    }  # fmt: skip
    assert make(folder, TRY_RUN_RECORD="1") == make(folder) == FOUND
    assert asked(folder) == 0
    assert (folder / "answers").read_text(encoding="ascii") == answers


def test_another_command_is_no_listed_one(folder: Path) -> None:
    """Also if a listed one begins or ends so."""
    words = (WORD.format("-fbad") + "x", "x" + WORD.format("-fbad"), WORD.format("-fgood"))
    (folder / "answers").write_text("".join(f"y<{word}>\n" for word in words), encoding="ascii")
    assert make(folder) == FOUND
    assert asked(folder) == 2
