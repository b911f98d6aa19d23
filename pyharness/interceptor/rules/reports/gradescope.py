# SPDX-License-Identifier: GPL-2.0
"""A report as Gradescope reads it, the file ``results.json`` of an autograder. Pure.

The format is described in https://gradescope-autograders.readthedocs.io/en/latest/specs/. The score
of the whole is given, so it counts whatever is hidden. A rule with bonus points has a ``max_score``
of 0.
"""

import json
from typing import Any

from pyharness.interceptor.rules.reports import wording
from pyharness.interceptor.rules.reports.characters import shown
from pyharness.interceptor.rules.reports.redaction import for_student
from pyharness.interceptor.rules.verdict import Outcome, Report, Verdict

_LINES, _COLUMNS = 200, 1000


def document(report: Report) -> str:
    """Return a report as the text of ``results.json``.

    A hidden rule has the visibility ``hidden``: an instructor sees all of it, and a student only
    what the output of the whole says, which is its outcome and its points.
    """
    seen = for_student(report)
    pairs = zip(report.verdicts, seen.verdicts, strict=True)
    return json.dumps(
        {
            "score": report.points,
            "execution_time": round(report.seconds),
            "output": _output(seen),
            "output_format": "text",
            "tests": [_test(whole if whole.hidden else part) for whole, part in pairs],
        },
        indent=2,
    )


def _output(seen: Report) -> str:
    lines = [f"{wording.total(seen)}. {wording.sentence(seen)}"]
    for verdict in seen.verdicts:
        if verdict.hidden:
            points = wording.points_of(verdict) or "no points"
            lines.append(f"{verdict.title}: {verdict.outcome} ({points})")
    return "\n".join(lines)


def _test(verdict: Verdict) -> dict[str, Any]:
    return {
        "name": shown(f"{verdict.rule}: {verdict.title}{' (bonus)' * verdict.bonus}"),
        "score": verdict.points,
        "max_score": 0 if verdict.bonus else verdict.most,
        "status": "passed" if verdict.outcome is Outcome.PASSED else "failed",
        "output": wording.explanation(verdict, lines=_LINES, columns=_COLUMNS),
        "output_format": "text",
        "visibility": "hidden" if verdict.hidden else "visible",
    }
