# SPDX-License-Identifier: GPL-2.0
"""The mutants of the classic solution: each patch applies as it is, and says what it breaks."""

import re
from pathlib import Path

import pytest
from broken import read
from classic import MUTANTS, SOLUTION, breaks, mutant

from pyharness.interceptor.rules.catalogue import IDS


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_applies_and_says_what_it_breaks(tmp_path: Path, name: str) -> None:
    header = read(MUTANTS[name]).header
    assert header.keys() == ["Fault", "Breaks"]
    assert re.fullmatch(r"[^\n]+\.", header["Fault"])
    assert breaks(name) <= set(IDS)
    made = mutant(name, tmp_path / name)
    names = {path.name for path in SOLUTION.iterdir()}
    assert {path.name for path in made.iterdir()} == names
    changed = [n for n in names if (made / n).read_bytes() != (SOLUTION / n).read_bytes()]
    assert changed in (["interceptor.c"], ["Kbuild"])


def test_the_table_in_the_documentation_has_each_mutant() -> None:
    text = (Path(__file__).parents[2] / "docs/marking.md").read_text(encoding="utf-8")
    table = text.partition("## What the rules find")[2]
    rows = re.findall(r"^\| (.+) \| (`.*`) \|$", table, re.MULTILINE)
    headers = [read(path).header for path in MUTANTS.values()]
    assert [(f"{fault}.", rules.replace("`", "")) for fault, rules in rows] == [
        (header["Fault"], header["Breaks"]) for header in headers
    ]
