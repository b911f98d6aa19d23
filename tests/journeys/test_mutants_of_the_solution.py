# SPDX-License-Identifier: GPL-2.0
"""Each mutant of the classic solution loses the rules that it breaks, and those behind them."""

from pathlib import Path

import classic
import handout_testers
import pytest

from pyharness import Guest
from pyharness.interceptor.rules import catalogue
from pyharness.interceptor.rules.checking import GUEST
from pyharness.interceptor.rules.verdict import Outcome


@pytest.mark.alone
@pytest.mark.test_limit(900)
@pytest.mark.parametrize("name", classic.MUTANTS)
def test_a_mutant_loses_what_it_breaks(tmp_path: Path, name: str) -> None:
    found = classic.check(classic.mutant(name, tmp_path / name))
    assert not found.report["problem"]
    known = {rule.id: rule for rule in catalogue.RULES}
    earning = {rule for rule in classic.breaks(name) if known[rule].points}
    assert found.rules(Outcome.FAILED) == earning
    for rule in found.rules(Outcome.UNDECIDED):
        assert found.verdicts[rule]["because"] in earning
        assert any(found.verdicts[name]["outcome"] != "passed" for name in known[rule].after)


@pytest.mark.alone
@pytest.mark.test_limit(900)
@pytest.mark.parametrize("name", classic.MUTANTS)
def test_the_testers_of_the_handout_agree(tmp_path: Path, name: str) -> None:
    """The first line that fails in them is of a rule that is lost.

    What follows may fail because of that: the testers have one guest for all lines.
    """
    with Guest.boot(GUEST) as guest:
        passed = handout_testers.results(guest, classic.mutant(name, tmp_path / name))
    if not all(passed):
        rules, _ = handout_testers.LINES[passed.index(False)]
        assert classic.lost(name).intersection(rules.split())


@pytest.mark.alone
@pytest.mark.test_limit(900)
def test_the_testers_of_the_handout_find_nothing_wrong_with_the_solution() -> None:
    with Guest.boot(GUEST) as guest:
        assert handout_testers.results(guest, classic.SOLUTION) == [True] * len(
            handout_testers.LINES
        )
