# SPDX-License-Identifier: GPL-2.0
"""The makefile of an image that answers Kbuild's tests of the compiler from a file."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from pyharness.host import bundled

MAKEFILE = bundled.VM / "rootfs" / "usr" / "local" / "share" / "try-run" / "try-run.mk"
# As scripts/Makefile.compiler of Linux 6.1 and, before 5.9, scripts/Kbuild.include have it.
KBUILDS = (
    """TMPOUT = $(if $(KBUILD_EXTMOD),$(firstword $(KBUILD_EXTMOD))/).tmp_$$$$
try-run = $(shell set -e;		\\
	TMP=$(TMPOUT)/tmp;		\\
	trap "rm -rf $(TMPOUT)" EXIT;	\\
	mkdir -p $(TMPOUT);		\\
	if ($(1)) >/dev/null 2>&1;	\\
	then echo "$(2)";		\\
	else echo "$(3)";		\\
	fi)
""",
    """TMPOUT := $(if $(KBUILD_EXTMOD),$(firstword $(KBUILD_EXTMOD))/)
try-run = $(shell set -e;		\\
	TMP="$(TMPOUT).$$$$.tmp";	\\
	if ($(1)) >/dev/null 2>&1;	\\
	then echo "$(2)";		\\
	else echo "$(3)";		\\
	fi;				\\
	rm -f "$$TMP")
""",
)
# Tests of a compiler, ./cc, whose answers differ, are the same, and are changed by the shell.
TESTS = r"""
option = $(call try-run,./cc -Werror $(1) -c -x c /dev/null -o "$$TMP",$(1),$(2))
$(info $(call option,-fgood,)|$(call option,-fbad,-fother)|$(call option,-fbad))
$(info $(call option,-DX=\"y\"))
all: ;
"""
COMPILER = """#!/bin/sh
echo "$*" >> asked
: > "$8"
[ "$2" != -fbad ]
"""
FOUND = '-fgood|-fother|\n-DX="y"\n'
WORD = './cc^-Werror^{}^-c^-x^c^/dev/null^-o^"$TMP"'


@pytest.fixture(params=KBUILDS, ids=["6.1", "5.4"])
def folder(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A folder with a makefile that tests a compiler, and with the file of the image."""
    shutil.copy(MAKEFILE, tmp_path)
    kbuild = f"{request.param}include {tmp_path}/try-run.mk\n"
    # Kbuild includes the file twice.
    (tmp_path / "Makefile").write_text(f"{kbuild}{kbuild}{TESTS}", encoding="ascii")
    (tmp_path / "cc").write_text(COMPILER, encoding="ascii")
    (tmp_path / "cc").chmod(0o755)
    return tmp_path


def make(folder: Path, **environment: str) -> str:
    """Return what the makefile has found."""
    variables = {**os.environ, "MAKEFLAGS": "", **environment}
    line = ["make", "-s", "-C", str(folder), "--no-print-directory", f"KBUILD_EXTMOD={folder}"]
    done = subprocess.run(line, env=variables, capture_output=True, text=True, check=True)
    assert not done.stderr
    assert {path.name for path in folder.iterdir()} <= {
        "Makefile", "cc", "try-run.mk", "asked", "answers"
    }  # fmt: skip
    return done.stdout


def asked(folder: Path) -> int:
    """Return how often the compiler ran since the last call."""
    file = folder / "asked"
    count = len(file.read_text(encoding="ascii").splitlines()) if file.exists() else 0
    file.unlink(missing_ok=True)
    return count


def test_without_answers_the_compiler_is_asked(folder: Path) -> None:
    for _ in range(2):
        assert make(folder) == FOUND
        assert asked(folder) == 4


def test_answers_are_recorded_and_used(folder: Path) -> None:
    answers = folder / "answers"
    assert make(folder, TRY_RUN_RECORD=str(answers)) == FOUND
    asked(folder)
    recorded = answers.read_text(encoding="ascii")
    assert {f"y<{WORD.format('-fgood')}>", f"n<{WORD.format('-fbad')}>"} == {*recorded.split()}
    assert make(folder) == FOUND
    assert asked(folder) == 1  # the shell changes the text of its answer


def test_another_command_is_not_listed(folder: Path) -> None:
    """Also if a listed one begins or ends so."""
    words = (WORD.format("-fbad") + "x", "x" + WORD.format("-fbad"), WORD.format("-fgood"))
    (folder / "answers").write_text("".join(f"y<{word}>\n" for word in words), encoding="ascii")
    assert make(folder) == FOUND
    assert asked(folder) == 3
