# SPDX-License-Identifier: GPL-2.0
r"""A report as a JSON object, for programs, with all that is known. Pure.

The object has ``format``, a number that changes only when a field changes its meaning or is
removed, and these fields:

    submission, guest, kernel, scheme   strings
    seed                                a number
    points, most                        numbers; ``most`` is without the points of bonus rules
    passed                              whether each rule that earns points passed
    problem                             why the check did not get to its end, otherwise empty
    seconds                             how long all rules took
    verdicts                            an object for each rule, in the order of their decision

The object of a rule has:

    rule, title                         strings
    outcome                             ``passed``, ``failed`` or ``not decided``
    points, most                        numbers
    bonus, hidden                       true or false
    evidence, log, crash                texts of lines; empty if there is nothing
    because                             the id of the rule for which this one was not decided
    seconds                             how long it took

Texts are complete, and have each character as it came, except for lone surrogates, which stand for
bytes that are not UTF-8: there is an escape such as ``\udcff`` for each.
"""

import json
from dataclasses import asdict
from typing import Any

from pyharness.interceptor.rules.verdict import Report

FORMAT = 1


def document(report: Report) -> str:
    """Return a report as the text of a JSON object."""
    return json.dumps(as_object(report), indent=2, ensure_ascii=False) + "\n"


def as_object(report: Report) -> dict[str, Any]:
    """Return a report as an object for JSON."""
    known = {
        "format": FORMAT,
        **asdict(report),
        "points": report.points,
        "most": report.most,
        "passed": report.passed,
        "seconds": report.seconds,
    }
    verdicts = [_encodable(asdict(verdict)) for verdict in report.verdicts]
    return _encodable(known) | {"verdicts": verdicts}


def _encodable(known: dict[str, Any]) -> dict[str, Any]:
    """Replace lone surrogates in the texts of an object."""
    return {
        name: value.encode("utf-8", "backslashreplace").decode()
        if isinstance(value, str)
        else value
        for name, value in known.items()
    }
