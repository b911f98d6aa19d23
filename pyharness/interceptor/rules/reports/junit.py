# SPDX-License-Identifier: GPL-2.0
"""A report as JUnit XML, for a student: hidden rules are redacted. Pure."""

from xml.etree import ElementTree as ET

from pyharness.interceptor.rules.reports import wording
from pyharness.interceptor.rules.reports.markup import element
from pyharness.interceptor.rules.reports.redaction import for_student
from pyharness.interceptor.rules.verdict import Outcome, Report, Verdict

_LINES, _COLUMNS = 400, 2000
# The class of all tests, and the name of the one that stands for the whole check.
_CLASS, _CHECK = "pyharness.check", "check"


def document(report: Report) -> str:
    """Return a report as a JUnit XML document.

    Each rule is a test case. One that failed has a ``failure`` with the evidence, and one that was
    not decided is ``skipped``. If the module could not be checked to the end, a further test case
    has an ``error`` with the reason. The points are properties of the suite.
    """
    seen = for_student(report)
    cases = [_case(verdict) for verdict in seen.verdicts]
    if seen.problem:
        error = element("error", seen.problem, message=seen.problem)
        cases.append(element("testcase", error, classname=_CLASS, name=_CHECK, time="0.000"))
    outcomes = [verdict.outcome for verdict in seen.verdicts]
    counts = {
        "tests": str(len(cases)),
        "failures": str(outcomes.count(Outcome.FAILED)),
        "errors": str(int(bool(seen.problem))),
        "skipped": str(outcomes.count(Outcome.UNDECIDED)),
        "time": f"{seen.seconds:.3f}",
    }
    suite = element("testsuite", _properties(seen), *cases, name=seen.submission, **counts)
    root = element("testsuites", suite, **counts)
    ET.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _properties(report: Report) -> ET.Element:
    known = {
        "guest": report.guest,
        "kernel": report.kernel,
        "scheme": report.scheme,
        "seed": str(report.seed),
        "points": wording.number(report.points),
        "most": wording.number(report.most),
    }
    return element(
        "properties",
        *(element("property", name=name, value=value) for name, value in known.items()),
    )


def _case(verdict: Verdict) -> ET.Element:
    result = None
    if verdict.outcome is Outcome.FAILED:
        text = wording.explanation(verdict, lines=_LINES, columns=_COLUMNS)
        result = element("failure", text, message=verdict.title)
    elif verdict.outcome is Outcome.UNDECIDED:
        text = wording.explanation(verdict, lines=_LINES, columns=_COLUMNS)
        result = element("skipped", text, message=wording.reason(verdict) or "not decided")
    name = f"{verdict.rule}: {verdict.title}"
    return element("testcase", result, classname=_CLASS, name=name, time=f"{verdict.seconds:.3f}")
