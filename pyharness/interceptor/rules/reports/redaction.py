# SPDX-License-Identifier: GPL-2.0
"""Removes from a report what a student must not see of hidden rules. Pure."""

from collections.abc import Iterable
from dataclasses import replace

from pyharness.interceptor.rules.verdict import Report, Verdict

TITLE = "a hidden rule"


class Redaction:
    """Redacts the verdicts of one report, one after the other.

    Of a hidden rule, the outcome and the points stay. Its id becomes ``hidden-1``, ``hidden-2``
    and so on, in the order of ``hidden``, and then of the verdicts. A verdict that is already
    redacted stays as it is.
    """

    def __init__(self, hidden: Iterable[str] = ()) -> None:
        """Begin a report.

        Args:
            hidden: the ids of hidden rules that are known already. A verdict that names a hidden
                rule as its reason has to come after that rule, unless that rule is among them.
        """
        self._ids: dict[str, str] = {}
        for rule in hidden:
            self._id(rule)

    def verdict(self, verdict: Verdict) -> Verdict:
        """Return what a student may see of the report's next verdict."""
        because = self._ids.get(verdict.because, verdict.because)
        if not verdict.hidden:
            return replace(verdict, because=because)
        return Verdict(
            rule=self._id(verdict.rule),
            title=TITLE,
            outcome=verdict.outcome,
            points=verdict.points,
            most=verdict.most,
            bonus=verdict.bonus,
            hidden=True,
        )

    def _id(self, rule: str) -> str:
        return self._ids.setdefault(rule, f"hidden-{len(self._ids) + 1}")


def for_student(report: Report) -> Report:
    """Return what a student may see of a report: see :class:`Redaction`."""
    redaction = Redaction(verdict.rule for verdict in report.verdicts if verdict.hidden)
    return replace(report, verdicts=tuple(map(redaction.verdict, report.verdicts)))
