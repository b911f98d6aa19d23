# SPDX-License-Identifier: GPL-2.0
r"""A report as a JSON object, for programs, with all that is known. Pure.

The object has ``format``, a number that changes only when a field changes its meaning or is
removed, and these fields:

    submission, guest, kernel, scheme   strings
    seed                                a number
    points, most                        numbers: the sums over the verdicts; ``most`` is without
                                        the points of bonus rules
    passed                              whether each rule that earns points passed
    problem                             why the check did not get to its end, otherwise empty
    seconds                             how long all rules took
    verdicts                            an object for each rule, in the order of ``pyharness
                                        rules``; after a problem, for those before it

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
import math
from dataclasses import asdict, fields
from typing import Any, NoReturn

from pyharness.interceptor.rules.verdict import Outcome, Report, Verdict

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


def load(text: str) -> Report:
    """Return the report that document() has made a text of.

    Lone surrogates stay the escapes that they became. Fields that are unknown are ignored.

    Args:
        text: the text of a JSON object.

    Raises:
        ValueError: it is no whole report of this format.
    """
    try:
        return of_object(json.loads(text))
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def of_object(known: object) -> Report:
    """Return the report that as_object() has made an object of; see load().

    Args:
        known: the object, as json.loads() returns it.

    Raises:
        ValueError: it is no whole report of this format.
    """
    if not isinstance(known, dict):
        _wrong("it is not an object")
    if known.get("format") != FORMAT or isinstance(known["format"], bool):
        _wrong(f"its format is not {FORMAT}")
    verdicts = known.get("verdicts")
    if not isinstance(verdicts, list):
        _wrong("verdicts is not a list")
    found = _fields(Report, known, without=("verdicts",))
    return Report(**found, verdicts=tuple(map(_verdict, verdicts)))


def _verdict(known: object) -> Verdict:
    if not isinstance(known, dict):
        _wrong("a verdict is not an object")
    outcome = known.get("outcome")
    if not isinstance(outcome, str):
        _wrong("the outcome of a verdict is not a string")
    return Verdict(**_fields(Verdict, known, without=("outcome",)), outcome=Outcome(outcome))


def _fields(
    kind: type[Report | Verdict], known: dict[str, Any], *, without: tuple[str, ...]
) -> dict[str, Any]:
    """Return the fields of a dataclass from an object, each of which has to be of its type."""
    found = {}
    for field in fields(kind):
        if field.name in without:
            continue
        value = known.get(field.name)
        types = (int, float) if field.type is float else (field.type,)
        if type(value) not in types or (isinstance(value, float) and not math.isfinite(value)):
            _wrong(f"{field.name} is missing, or is of another type")
        found[field.name] = value
    return found


def _wrong(what: str) -> NoReturn:
    raise ValueError(f"not a report: {what}")
