# SPDX-License-Identifier: GPL-2.0
"""Removes from a report what a student must not see of hidden rules. Pure."""

from dataclasses import replace

from pyharness.interceptor.rules.verdict import Report, Verdict

TITLE = "a hidden rule"


class Redaction:
    """Redacts the verdicts of one report, one after the other.

    Of a hidden rule, the outcome and the points stay. Its id becomes ``hidden-1``, ``hidden-2``
    and so on, in the order of the verdicts. A verdict that is already redacted stays as it is.
    """

    def __init__(self) -> None:
        """Begin a report."""
        self._ids: dict[str, str] = {}

    def verdict(self, verdict: Verdict) -> Verdict:
        """Return what a student may see of the report's next verdict."""
        because = self._ids.get(verdict.because, verdict.because)
        if not verdict.hidden:
            return replace(verdict, because=because)
        number = len(self._ids) + 1
        return Verdict(
            rule=self._ids.setdefault(verdict.rule, f"hidden-{number}"),
            title=TITLE,
            outcome=verdict.outcome,
            points=verdict.points,
            most=verdict.most,
            bonus=verdict.bonus,
            hidden=True,
        )


def for_student(report: Report) -> Report:
    """Return what a student may see of a report: see :class:`Redaction`."""
    redaction = Redaction()
    return replace(report, verdicts=tuple(map(redaction.verdict, report.verdicts)))
