# SPDX-License-Identifier: GPL-2.0
"""What the formats for people say about verdicts, in the same words. Pure."""

from collections import Counter

from pyharness.host.wording import counted
from pyharness.interceptor.rules.reports.characters import clipped, shown
from pyharness.interceptor.rules.verdict import Outcome, Report, Verdict


def number(points: float) -> str:
    """Return a number of points without zeros at its end: ``2``, ``0.5``."""
    return f"{points:.6f}".rstrip("0").rstrip(".")


def points_of(verdict: Verdict) -> str:
    """Return the points of a rule, such as ``2/4``; empty if the rule earns none."""
    if not verdict.most:
        return ""
    return f"{number(verdict.points)}/{number(verdict.most)}{' bonus' * verdict.bonus}"


def total(report: Report) -> str:
    """Return the points of a report, such as ``92 of 100 points, 5 of them bonus points``."""
    text = f"{number(report.points)} of {number(report.most)} points"
    bonus = sum(verdict.points for verdict in report.verdicts if verdict.bonus)
    return f"{text}, {number(bonus)} of them bonus points" if bonus else text


def sentence(report: Report) -> str:
    """Return one sentence about the rules of a report: how many were kept, and how many not."""
    if report.problem:
        return f"The module could not be checked to the end: {shown(report.problem)}"
    counts = Counter(verdict.outcome for verdict in report.verdicts)
    rules = counted(len(report.verdicts), "rule")
    if counts[Outcome.PASSED] == len(report.verdicts):
        return f"The module keeps all {rules}."
    others = {Outcome.FAILED: "failed", Outcome.UNDECIDED: "could not be decided"}
    parts = [f"{counts[outcome]} {verb}" for outcome, verb in others.items() if counts[outcome]]
    return f"The module keeps {counts[Outcome.PASSED]} of {rules}; {', and '.join(parts)}."


def reason(verdict: Verdict) -> str:
    """Return why a rule was not decided, such as ``because builds failed``; empty if it was."""
    if verdict.outcome is not Outcome.UNDECIDED or not verdict.because:
        return ""
    return f"because {shown(verdict.because)} failed"


def sections(verdict: Verdict, *, lines: int, columns: int) -> list[tuple[str, str]]:
    """Return what explains a rule that did not pass.

    Args:
        verdict: the verdict.
        lines: how many lines each section may have.
        columns: how many characters each line may have.

    Returns:
        The title and the text of each section that there is; nothing for a rule that passed.
    """
    if verdict.outcome is Outcome.PASSED:
        return []
    found = {"Evidence": verdict.evidence, "Kernel log": verdict.log, "Crash": verdict.crash}
    return [
        (title, clipped(text, lines=lines, columns=columns))
        for title, text in found.items()
        if text.strip()
    ]


def explanation(verdict: Verdict, *, lines: int, columns: int) -> str:
    """Return the reason and the sections as one text, with the titles of all but the evidence.

    Args:
        verdict: the verdict.
        lines: how many lines each section may have.
        columns: how many characters each line may have.
    """
    parts = [f"Not decided, {reason(verdict)}."] if reason(verdict) else []
    for title, text in sections(verdict, lines=lines, columns=columns):
        parts.append(text if title == "Evidence" else f"{title}:\n{text}")
    return "\n".join(parts)
