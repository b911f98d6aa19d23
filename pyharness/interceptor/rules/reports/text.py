# SPDX-License-Identifier: GPL-2.0
"""The verdicts as lines for a terminal, which is where they have colours. Pure.

A ``rich.console.Console`` prints them, by ``print(…, soft_wrap=True)``; only on a terminal it uses
colours. The functions show all of a verdict: redact it first for a student.
"""

import textwrap
from collections.abc import Sequence

from rich.text import Text

from pyharness.interceptor.rules.reports import wording
from pyharness.interceptor.rules.reports.characters import shown
from pyharness.interceptor.rules.verdict import Outcome, Report, Verdict

# A failure also stands out without colours.
_WORDS = {outcome: outcome.value for outcome in Outcome} | {Outcome.FAILED: "FAILED"}
_COLOURS = {Outcome.PASSED: "green", Outcome.FAILED: "bold red", Outcome.UNDECIDED: "yellow"}
# What fits on a screen; other formats have more.
_LINES, _COLUMNS = 20, 240
_INDENT = " " * 4


def verdict_text(verdict: Verdict) -> Text:
    """Return a line about a rule: outcome, points, id and title.

    Below it, indented, are the evidence, the log and the crash of a rule that failed. Those of
    many lines are shortened.
    """
    text = Text.assemble((f"{_WORDS[verdict.outcome]:11}", _COLOURS[verdict.outcome]))
    points = wording.points_of(verdict) or "-"
    line = f"  {points:>9}  {shown(verdict.rule):20} {shown(verdict.title)}"
    text.append(line)
    if because := wording.reason(verdict):
        text.append(f" ({because})")
    for title, found in wording.sections(verdict, lines=_LINES, columns=_COLUMNS):
        indent = _INDENT
        if title != "Evidence":
            text.append(f"\n{_INDENT}{title}:")
            indent *= 2
        text.append("\n" + textwrap.indent(found, indent), style="dim")
    return text


def end_text(report: Report) -> Text:
    """Return the end of a report: its points, a sentence about its rules, and the seed."""
    style = "bold yellow" if report.problem else "bold green" if report.passed else "bold red"
    seed = f"Seed {report.seed}: --seed {report.seed} repeats the random arguments."
    return Text.assemble((wording.total(report), style), "\n", wording.sentence(report), "\n", seed)


def class_text(reports: Sequence[Report]) -> Text:
    """Return the table of a class: on a line for each student the name, points and failed rules."""
    names = [shown(report.submission) for report in reports]
    width = min(40, max(map(len, names), default=0))
    lines = []
    for report, name in zip(reports, names, strict=True):
        points = f"{wording.number(report.points)}/{wording.number(report.most)}"
        failed = [
            shown(verdict.rule)
            for verdict in report.verdicts
            if verdict.outcome is Outcome.FAILED and verdict.most
        ]
        said = (", ".join(failed), "red")
        if report.problem:
            points, said = "-", ("not marked", "bold yellow")
        elif not failed:
            said = ("none failed", "green")
        lines.append(Text.assemble(f"{name:{width}}  {points:>9}  ", said))
    return Text("\n").join(lines)
