# SPDX-License-Identifier: GPL-2.0
"""The reports of a class as a table of students and rules, and as CSV, for a teacher. Pure."""

import csv
import io
from collections.abc import Sequence

from pyharness.interceptor.rules.reports import wording
from pyharness.interceptor.rules.reports.characters import shown
from pyharness.interceptor.rules.verdict import Report

# A spreadsheet takes a cell that begins with one of these for a formula.
_FORMULA = ("=", "+", "-", "@")


def rules_of(reports: Sequence[Report]) -> dict[str, str]:
    """Return the title of each rule by its id, in the order in which reports have them first."""
    titles: dict[str, str] = {}
    for report in reports:
        for verdict in report.verdicts:
            titles.setdefault(verdict.rule, verdict.title)
    return titles


def as_csv(reports: Sequence[Report]) -> str:
    """Return the reports as CSV: a line for each student, and a column for each rule.

    The columns are ``student``, ``points``, ``most``, the outcome of each rule under its id (empty
    if the report does not have it), and ``problem``. A text that a spreadsheet would take for a
    formula begins with an apostrophe.
    """
    rules = rules_of(reports)
    written = io.StringIO()
    writer = csv.writer(written, lineterminator="\n")
    writer.writerow(["student", "points", "most", *map(_cell, rules), "problem"])
    for report in reports:
        outcomes = {verdict.rule: verdict.outcome.value for verdict in report.verdicts}
        writer.writerow(
            [
                _cell(report.submission),
                wording.number(report.points),
                wording.number(report.most),
                *(outcomes.get(rule, "") for rule in rules),
                _cell(report.problem),
            ]
        )
    return written.getvalue()


def _cell(text: str) -> str:
    text = shown(text)
    return f"'{text}" if text.startswith(_FORMULA) else text
