# SPDX-License-Identifier: GPL-2.0
"""The reports of a class as an HTML page, for a teacher: nothing is redacted. Pure."""

import statistics
from collections.abc import Mapping, Sequence
from urllib.parse import quote
from xml.etree import ElementTree as ET

from pyharness.host.wording import counted
from pyharness.interceptor.rules.reports import wording
from pyharness.interceptor.rules.reports.class_table import rules_of
from pyharness.interceptor.rules.reports.html_page import CLASSES, SIGNS, document
from pyharness.interceptor.rules.reports.markup import element
from pyharness.interceptor.rules.verdict import Outcome, Report, Verdict


def page(reports: Sequence[Report], *, title: str, pages: Mapping[str, str] | None = None) -> str:
    """Return the reports as an HTML page with a table of students and rules, in one file.

    Args:
        reports: the reports.
        title: the page's title.
        pages: for each submission that has a page of its own, the path of that page relative to
            this one.
    """
    rules = rules_of(reports)
    table = element(
        "table",
        element("thead", _head(rules)),
        element("tbody", *(_row(report, rules, pages or {}) for report in reports)),
        element("tfoot", _foot(reports, rules)),
    )
    return document(
        title,
        element("h1", title),
        element("p", _summary(reports)),
        element("p", _legend(), class_="quiet"),
        *(
            element("p", f"{report.submission}: {wording.sentence(report)}", class_="problem")
            for report in reports
            if report.problem
        ),
        element("div", table, class_="scroll", tabindex="0", role="region", aria_label="Outcomes"),
        wide=True,
    )


def _summary(reports: Sequence[Report]) -> str:
    students = counted(len(reports), "student")
    marked = [report for report in reports if not report.problem]
    if len(marked) < len(reports):
        students += f", {len(reports) - len(marked)} of them not marked"
    if not marked:
        return f"{students}."
    median = wording.number(statistics.median(report.points for report in marked))
    most = wording.number(max(report.most for report in marked))
    return f"{students}. The median is {median} of {most} points."


def _legend() -> str:
    return ", ".join(f"{sign} {outcome}" for outcome, sign in SIGNS.items()) + "."


def _head(rules: Mapping[str, str]) -> ET.Element:
    return element(
        "tr",
        element("th", element("span", "Student"), scope="col", class_="first"),
        element("th", "Points", scope="col"),
        *(
            element("th", rule, scope="col", class_="turned", title=text)
            for rule, text in rules.items()
        ),
    )


def _row(report: Report, rules: Mapping[str, str], pages: Mapping[str, str]) -> ET.Element:
    verdicts = {verdict.rule: verdict for verdict in report.verdicts}
    name: str | ET.Element = report.submission
    if report.submission in pages:
        path = pages[report.submission].encode("utf-8", "surrogateescape")
        name = element("a", report.submission, href=quote(path))
    return element(
        "tr",
        element("th", element("span", name), scope="row"),
        element("td", wording.number(report.points), class_="points"),
        *(_cell(verdicts.get(rule)) for rule in rules),
    )


def _cell(verdict: Verdict | None) -> ET.Element:
    if verdict is None:
        return element("td")
    said = ", ".join(
        filter(None, (verdict.outcome, wording.reason(verdict), wording.points_of(verdict)))
    )
    return element(
        "td",
        element("span", SIGNS[verdict.outcome], role="img", aria_label=said),
        class_=CLASSES[verdict.outcome],
        title=f"{verdict.rule}{' (hidden)' * verdict.hidden}: {said}",
    )


def _foot(reports: Sequence[Report], rules: Mapping[str, str]) -> ET.Element:
    passed = [
        verdict.rule
        for report in reports
        for verdict in report.verdicts
        if verdict.outcome is Outcome.PASSED
    ]
    return element(
        "tr",
        element("th", element("span", "Passed by"), scope="row"),
        element("td"),
        *(element("td", str(passed.count(rule))) for rule in rules),
    )
