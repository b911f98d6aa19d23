# SPDX-License-Identifier: GPL-2.0
"""The mutants of the classic solution: each patch applies as it is, and says what it breaks."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

CLASSIC = Path(__file__).parents[1] / "classic"
SOLUTION = CLASSIC / "solution"
PATCHES = sorted((CLASSIC / "mutants").glob("*.patch"))


@pytest.mark.parametrize("path", PATCHES, ids=lambda path: path.stem)
def test_a_mutant_applies_and_says_what_it_breaks(tmp_path: Path, path: Path) -> None:
    header = path.read_text(encoding="utf-8").partition("\n\n")[0]
    assert re.fullmatch(r"Fault: [^\n]+\.\nBreaks: [a-z-]+(, [a-z-]+)*", header)
    shutil.copytree(SOLUTION, tmp_path, dirs_exist_ok=True)
    line = ["patch", "-p1", "--fuzz=0", "--no-backup-if-mismatch", "-i", str(path)]
    said = subprocess.run(line, cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    assert re.fullmatch(r"patching file (interceptor\.c|Kbuild)\n", said)
    names = {found.name for found in SOLUTION.iterdir()}
    assert {found.name for found in tmp_path.iterdir()} == names
    changed = [n for n in names if (tmp_path / n).read_bytes() != (SOLUTION / n).read_bytes()]
    assert len(changed) == 1
