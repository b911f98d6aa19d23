# SPDX-License-Identifier: GPL-2.0
"""A report as an HTML page for a student: hidden rules are redacted. Pure."""

from xml.etree import ElementTree as ET

from pyharness.interceptor.rules.reports import wording
from pyharness.interceptor.rules.reports.html_page import CLASSES, SIGNS, document
from pyharness.interceptor.rules.reports.markup import element
from pyharness.interceptor.rules.reports.redaction import for_student
from pyharness.interceptor.rules.verdict import Outcome, Report, Verdict

_LINES, _COLUMNS = 400, 2000
# What a student has to look at comes first.
_HEADINGS = {
    Outcome.FAILED: "Failed",
    Outcome.UNDECIDED: "Not decided",
    Outcome.PASSED: "Passed",
}


def page(report: Report) -> str:
    """Return a report as an HTML page in one file, which loads nothing and has no script."""
    seen = for_student(report)
    style = "problem" if seen.problem else "sentence"
    header = element(
        "header",
        element("h1", seen.submission),
        element("p", wording.total(seen), class_="total"),
        element("p", wording.sentence(seen), class_=style),
    )
    sections = (_section(outcome, seen) for outcome in _HEADINGS)
    title = f"{seen.submission}: {wording.total(seen)}"
    return document(title, header, element("main", *sections), _facts(seen))


def _section(outcome: Outcome, report: Report) -> ET.Element | None:
    found = [verdict for verdict in report.verdicts if verdict.outcome is outcome]
    if not found:
        return None
    heading = element("h2", f"{_HEADINGS[outcome]} ({len(found)})")
    return element("section", heading, *map(_rule, found))


def _rule(verdict: Verdict) -> ET.Element:
    notes = [wording.reason(verdict), "" if verdict.most else "earns no points"]
    below = element(
        "div",
        element(
            "p",
            element("code", verdict.rule),
            *(f", {note}" for note in notes if note),
            class_="quiet",
        ),
    )
    for title, text in wording.sections(verdict, lines=_LINES, columns=_COLUMNS):
        below.append(element("h4", title))
        below.append(element("pre", text, tabindex="0"))
    return element(
        "article",
        element("span", SIGNS[verdict.outcome], class_="mark", aria_hidden="true"),
        element("h3", verdict.title),
        element("span", wording.points_of(verdict), class_="points"),
        below,
        class_=f"rule {CLASSES[verdict.outcome]}",
    )


def _facts(report: Report) -> ET.Element:
    known = {
        "Guest": report.guest,
        "Kernel": report.kernel,
        "Scheme": report.scheme,
        "Seed": str(report.seed),
        "Time": f"{report.seconds:.0f} s",
    }
    parts = [part for name, text in known.items() for part in (("dt", name), ("dd", text))]
    return element("footer", element("dl", *(element(tag, text) for tag, text in parts)))
