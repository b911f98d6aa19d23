# SPDX-License-Identifier: GPL-2.0
"""What was decided about a module: a verdict for each rule, and all of them together. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Outcome(StrEnum):
    """How a rule ended."""

    PASSED = "passed"
    FAILED = "failed"
    UNDECIDED = "not decided"


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What was decided about one rule.

    Attributes:
        rule: the rule's id, such as ``intercept-twice``.
        title: the rule in a sentence.
        outcome: whether the module keeps it.
        points: the points that it earns.
        most: the points that it could have earned; 0 for a rule beyond the assignment.
        bonus: whether its points are on top of the total.
        hidden: whether a student sees no more of the rule than its outcome.
        evidence: what was asked, what came, and what should have come; lines of text.
        log: the lines of the kernel log from the rule's beginning.
        crash: the kernel's report of a crash, with file and line of the module's code.
        because: the id of the rule that failed, for which this one could not be decided.
        seconds: how long it took, in seconds of the host.
    """

    rule: str
    title: str
    outcome: Outcome
    points: float = 0
    most: float = 0
    bonus: bool = False
    hidden: bool = False
    evidence: str = ""
    log: str = ""
    crash: str = ""
    because: str = ""
    seconds: float = 0


@dataclass(frozen=True, kw_only=True)
class Report:
    """What was decided about a module.

    Attributes:
        submission: the name of the module's folder or archive.
        guest: the name of the guest.
        kernel: the release of its kernel.
        scheme: the name of the scheme, which gives each rule its points.
        seed: the seed of the random arguments.
        verdicts: a verdict for each rule, in the order of the catalogue.
        problem: why the module could not be checked to the end, if the reason is not the module:
            one sentence; empty if it was.
    """

    submission: str
    guest: str
    kernel: str
    scheme: str
    seed: int
    verdicts: tuple[Verdict, ...]
    problem: str = ""

    @property
    def points(self) -> float:
        """The points that the module earns, those on top of the total included."""
        return _sum(verdict.points for verdict in self.verdicts)

    @property
    def most(self) -> float:
        """The points of all rules, without those on top."""
        return _sum(verdict.most for verdict in self.verdicts if not verdict.bonus)

    @property
    def passed(self) -> bool:
        """Whether each rule that earns points was decided, and passed."""
        return not self.problem and all(
            verdict.outcome is Outcome.PASSED for verdict in self.verdicts if verdict.most
        )

    @property
    def seconds(self) -> float:
        """How long all rules took, in seconds of the host."""
        return sum(verdict.seconds for verdict in self.verdicts)


@dataclass(frozen=True)
class Checked:
    """What came of checking a module.

    Attributes:
        report: the report.
        status: 0 if the module could be checked to the end; otherwise the exit status that the
            reason has: 2 or more, as 1 would say that the module is wrong.
    """

    report: Report
    status: int = 0


def _sum(points: Iterable[float]) -> float:
    """Add points up. Schemes have fractions such as 0.1, which a sum must not show."""
    return round(sum(points), 6)
