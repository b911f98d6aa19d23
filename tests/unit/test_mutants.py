# SPDX-License-Identifier: GPL-2.0
"""Each mutant can be made of the module as it is, and names tests that there are. Pure."""

from pathlib import Path

import pytest
from broken import BROKEN, write
from mutants import MUTANTS


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_can_be_made(tmp_path: Path, name: str) -> None:
    """What it changes occurs once."""
    write(tmp_path / "module", *MUTANTS[name].changes)


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_module_can_be_made(tmp_path: Path, name: str) -> None:
    write(tmp_path / "module", *BROKEN[name])


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_names_tests_that_exist(name: str) -> None:
    file, _, test = MUTANTS[name].test.partition("::")
    source = (Path(__file__).parents[1] / file).read_text(encoding="utf-8")
    assert f"def {test}(" in source if test else source
