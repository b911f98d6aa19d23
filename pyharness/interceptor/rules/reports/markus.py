# SPDX-License-Identifier: GPL-2.0
"""The verdicts as MarkUs reads them: a JSON object on a line for each. Pure.

The format is that of the custom tester of the MarkUs autotester; the section "The Custom Tester" of
https://github.com/MarkUsProject/markus-autotesting/blob/master/README.md describes it. ``name`` is
unique, ``status`` is ``pass``, ``partial``, ``fail``, or ``error`` if the points could not be
determined, and ``time`` is in milliseconds. The ``marks_total`` of a rule with bonus points is 0.
"""

import json

from pyharness.interceptor.rules.reports import wording
from pyharness.interceptor.rules.reports.characters import shown
from pyharness.interceptor.rules.reports.redaction import Redaction
from pyharness.interceptor.rules.verdict import Outcome, Report, Verdict

_LINES, _COLUMNS = 100, 500


def line(verdict: Verdict, redaction: Redaction) -> str:
    """Return the line about a rule, without a newline.

    Args:
        verdict: the verdict.
        redaction: redacts hidden rules; the same one for all lines of a report.
    """
    seen = redaction.verdict(verdict)
    return _line(
        f"{seen.rule}: {seen.title}",
        status=_status(verdict),
        output=wording.explanation(seen, lines=_LINES, columns=_COLUMNS),
        earned=seen.points,
        total=0 if seen.bonus else seen.most,
        seconds=seen.seconds,
    )


def end(report: Report) -> str:
    """Return the last line of a report that has a problem, without a newline; otherwise nothing."""
    if not report.problem:
        return ""
    return _line("check", status="error", output=wording.sentence(report))


def _status(verdict: Verdict) -> str:
    if verdict.outcome is Outcome.PASSED:
        return "pass"
    if verdict.outcome is Outcome.UNDECIDED and not verdict.because:
        return "error"
    return "partial" if verdict.points else "fail"


def _line(
    name: str, *, status: str, output: str, earned: float = 0, total: float = 0, seconds: float = 0
) -> str:
    return json.dumps(
        {
            "name": shown(name),
            "output": output,
            "marks_earned": earned,
            "marks_total": total,
            "status": status,
            "time": round(seconds * 1000),
        }
    )
