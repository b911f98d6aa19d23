# SPDX-License-Identifier: GPL-2.0
"""Each mutant of the classic solution loses the rules that it breaks, and those behind them."""

from pathlib import Path

import classic
import pytest

from pyharness.interceptor.rules import catalogue
from pyharness.interceptor.rules.verdict import Outcome


@pytest.mark.alone
@pytest.mark.test_limit(900)
@pytest.mark.parametrize("name", classic.MUTANTS)
def test_a_mutant_loses_what_it_breaks(tmp_path: Path, name: str) -> None:
    found = classic.check(classic.mutant(name, tmp_path / name))
    assert not found.report["problem"]
    assert found.rules(Outcome.FAILED) == classic.breaks(name)
    known = {rule.id: rule for rule in catalogue.RULES}
    for rule in found.rules(Outcome.UNDECIDED):
        assert found.verdicts[rule]["because"] in classic.breaks(name)
        assert any(found.verdicts[name]["outcome"] != "passed" for name in known[rule].after)
