# SPDX-License-Identifier: GPL-2.0
"""The formats of a report for programs and terminals; needs no guest."""

import csv
import io
import json
import re
from collections.abc import Callable
from dataclasses import asdict, fields, replace
from pathlib import Path
from xml.etree import ElementTree as ET

import hypothesis_profile  # noqa: F401
import pytest
from hypothesis import given
from hypothesis import strategies as some
from rich.console import Console
from sample_reports import (
    AFTER,
    AFTER_HIDDEN,
    BEYOND,
    BONUS,
    BROKEN,
    BUILDS,
    GOOD,
    HIDDEN,
    HIDDEN_AFTER,
    LINE,
    REPORT,
    TWICE,
    VERDICTS,
    report,
)

from pyharness.interceptor.rules.reports import (
    class_table,
    gradescope,
    html_student,
    json_report,
    junit,
    markus,
    text,
    wording,
)
from pyharness.interceptor.rules.reports.characters import clipped, shown
from pyharness.interceptor.rules.reports.redaction import TITLE, Redaction, for_student
from pyharness.interceptor.rules.verdict import Outcome, Report, Verdict

DOCUMENT = Path(__file__).parents[2] / "docs" / "classroom.md"
# Lone surrogates and control characters among them.
ANY_TEXT = some.text(some.characters() | some.sampled_from("\0\x1b\r\n\t\ud800\udcff\ufffe]>&<'\""))
VERDICT = some.builds(
    Verdict,
    rule=ANY_TEXT,
    title=ANY_TEXT,
    outcome=some.sampled_from(Outcome),
    points=some.integers(0, 9),
    most=some.sampled_from([0, 0.1, 3, 9]),
    bonus=some.booleans(),
    hidden=some.booleans(),
    evidence=ANY_TEXT,
    log=ANY_TEXT,
    crash=ANY_TEXT,
    because=ANY_TEXT,
    seconds=some.floats(0, 1000),
)
ANY_REPORT = some.builds(
    Report,
    submission=ANY_TEXT,
    guest=some.just("g"),
    kernel=ANY_TEXT,
    scheme=some.just("s"),
    seed=some.integers(0),
    verdicts=some.lists(VERDICT, max_size=3).map(tuple),
    problem=ANY_TEXT,
)


# ---- what all share ----


@pytest.mark.parametrize(
    ("points", "number"), [(0, "0"), (10, "10"), (0.5, "0.5"), (0.1 + 0.2, "0.3"), (1e6, "1000000")]
)
def test_points_have_no_zeros_at_the_end(points: float, number: str) -> None:
    assert wording.number(points) == number


def test_the_sentence_says_how_many_rules_are_kept() -> None:
    assert wording.sentence(GOOD) == "The module keeps all 2 rules."
    some_failed = "The module keeps 2 of 8 rules; 3 failed, and 3 could not be decided."
    assert wording.sentence(REPORT) == some_failed
    assert wording.sentence(report(BUILDS, AFTER)).endswith("; 1 could not be decided.")
    broken = "The module could not be checked to the end: The guest did not boot."
    assert wording.sentence(BROKEN) == broken


def test_the_total_names_bonus_points() -> None:
    assert wording.total(REPORT) == "10.5 of 16 points, 5 of them bonus points"
    assert wording.total(report(BUILDS)) == "5 of 5 points"


@given(line=ANY_TEXT)
def test_what_is_shown_is_printable_and_ascii_stays(line: str) -> None:
    assert shown(line).isprintable()
    if line.isprintable():
        assert shown(line) == line


def test_control_characters_are_shown_as_escapes() -> None:
    assert shown("\x1b[2J\udcff\n") == r"\x1b[2J\udcff\n"


def test_a_long_text_keeps_its_begin_and_its_end() -> None:
    many = "".join(f"{number}\n" for number in range(100))
    assert clipped(many, lines=3, columns=9).split("\n") == [
        "0",
        "1",
        "(… 97 lines left out …)",
        "99",
    ]
    assert clipped("abcdef", lines=3, columns=4) == "abcd (… 2 characters left out)"
    assert clipped("a\r\n\tb\n\n", lines=3, columns=99) == "a\n        b"


@given(many=ANY_TEXT, lines=some.integers(1, 5), columns=some.integers(1, 9))
def test_a_clipped_text_is_within_its_limits(many: str, lines: int, columns: int) -> None:
    found = clipped(many, lines=lines, columns=columns).split("\n")
    assert len(found) <= lines + 1
    assert all(len(line) <= columns + 50 for line in found)


# ---- hidden rules ----


def test_of_a_hidden_rule_outcome_and_points_stay() -> None:
    seen = for_student(REPORT)
    assert seen.verdicts[2] == Verdict(
        rule="hidden-1", title=TITLE, outcome=Outcome.FAILED, most=4, hidden=True
    )
    assert seen.verdicts[5].rule == "hidden-2"
    assert (seen.points, seen.most, seen.passed) == (REPORT.points, REPORT.most, REPORT.passed)
    assert wording.sentence(seen) == wording.sentence(REPORT)


def test_other_rules_do_not_name_a_hidden_one() -> None:
    seen = for_student(REPORT)
    assert seen.verdicts[4] == replace(AFTER_HIDDEN, because="hidden-1")
    assert [seen.verdicts[number] for number in (0, 1, 3)] == [BUILDS, TWICE, AFTER]


def test_the_order_of_the_verdicts_hides_nothing_less() -> None:
    backwards = report(*reversed(VERDICTS))
    assert "secret" not in repr(for_student(backwards).verdicts)
    assert "secret" not in gradescope.document(backwards).split('"tests"')[0]


def test_a_report_is_redacted_as_its_verdicts_are_one_by_one() -> None:
    redaction = Redaction()
    assert tuple(map(redaction.verdict, VERDICTS)) == for_student(REPORT).verdicts


@given(any_report=ANY_REPORT)
def test_redacting_again_changes_nothing(any_report: Report) -> None:
    once = for_student(any_report)
    assert for_student(once) == once


@pytest.mark.parametrize(
    "document",
    [junit.document, html_student.page],
    ids=lambda document: document.__module__.rpartition(".")[2],
)
def test_documents_for_students_have_no_secret(document: Callable[[Report], str]) -> None:
    assert "secret" not in document(REPORT)
    assert TITLE in document(REPORT)


# ---- text ----


def plain(*verdicts: Verdict) -> list[str]:
    return "\n".join(text.verdict_text(verdict).plain for verdict in verdicts).split("\n")


def test_a_line_for_each_rule() -> None:
    passed, undecided = plain(BUILDS, AFTER)
    assert passed.split() == ["passed", "5/5", "builds", "The", "module", "builds."]
    assert undecided.startswith("not decided ")
    assert undecided.endswith("one gets 0. (because intercept-twice failed)")
    assert plain(BONUS)[0].split()[:4] == ["passed", "5/5", "bonus", "all-except"]
    assert plain(BEYOND)[0].split()[:3] == ["FAILED", "-", "restarts"]


def test_below_a_failure_is_its_explanation() -> None:
    line, *below = plain(TWICE)
    assert line.split()[:3] == ["FAILED", "0.5/2", "intercept-twice"]
    assert below[:4] == [
        "    asked:  INTERCEPT of mkdir, twice",
        "    came:   0, 0",
        "    wanted: 0, -EBUSY",
        "    Kernel log:",
    ]
    assert below[4:6] == [f"        {LINE}"] * 2
    assert "        (… 10 lines left out …)" in below
    assert below[-3:] == [
        "    Crash:",
        "        BUG: kernel NULL pointer dereference",
        "        module.c:17: my_syscall()",
    ]


def test_colours_are_only_on_a_terminal() -> None:
    for is_terminal in (True, False):
        written = io.StringIO()
        console = Console(file=written, force_terminal=is_terminal, _environ={}, width=80)
        console.print(text.verdict_text(TWICE), soft_wrap=True)
        console.print(text.end_text(REPORT), soft_wrap=True)
        assert ("\x1b[" in written.getvalue()) == is_terminal
        assert "FAILED" in written.getvalue()


def test_what_a_module_logs_is_not_carried_out_by_the_terminal() -> None:
    lines = plain(replace(BEYOND, log="\x1b[1A\x1b[2Kpassed  99/99"))
    assert lines[-1] == r"        \x1b[1A\x1b[2Kpassed  99/99"


def test_the_end_has_the_points_a_sentence_and_the_seed() -> None:
    points, sentence, seed = text.end_text(REPORT).plain.split("\n")
    assert (points, sentence) == (wording.total(REPORT), wording.sentence(REPORT))
    assert seed == "Seed 7: --seed 7 repeats the random arguments."


def test_the_table_of_a_class_has_a_line_for_each_student() -> None:
    evil = replace(GOOD, submission="a\x1b[1A")
    lines = text.class_text([REPORT, BROKEN, GOOD, evil]).plain.split("\n")
    assert len(lines) == 4
    assert lines[0].split() == ["ada_lovelace", "10.5/16", "intercept-twice,", "storm-secret"]
    assert lines[1].endswith("  -  not marked")
    assert lines[2].endswith("none failed")
    assert "\x1b" not in lines[3]


# ---- JSON ----


def test_the_json_has_every_field() -> None:
    known = json.loads(json_report.document(REPORT))
    assert known.keys() == {field.name for field in fields(Report)} | {
        "format",
        "points",
        "most",
        "passed",
        "seconds",
    }
    assert known["verdicts"] == [asdict(verdict) for verdict in VERDICTS]
    assert (known["format"], known["points"], known["most"], known["passed"]) == (
        1,
        10.5,
        16,
        False,
    )


def test_each_field_of_the_json_is_documented() -> None:
    assert json_report.__doc__
    words = set(json_report.__doc__.replace(",", " ").split())
    known = json_report.as_object(REPORT)
    names = {*known, *known["verdicts"][0]} - {"format"}
    assert names <= words


@given(any_report=ANY_REPORT)
def test_any_report_is_json_that_utf_8_can_encode(any_report: Report) -> None:
    document = json_report.document(any_report).encode()
    assert json.loads(document)["seed"] == any_report.seed


@given(any_report=ANY_REPORT)
def test_a_report_is_read_back_from_its_json(any_report: Report) -> None:
    document = json_report.document(any_report)
    loaded = json_report.load(document)
    assert json_report.document(loaded) == document
    assert (loaded.points, loaded.seconds) == (any_report.points, any_report.seconds)
    if "\\ud" not in document:
        assert loaded == any_report


def test_fields_that_a_later_version_adds_are_ignored() -> None:
    known = json_report.as_object(REPORT)
    known["new"] = known["verdicts"][0]["new"] = 1
    assert json_report.of_object(known) == REPORT


@pytest.mark.parametrize("end", range(0, len(json_report.document(REPORT)) - 1, 97))
def test_a_report_that_was_cut_off_is_refused(end: int) -> None:
    with pytest.raises(ValueError, match=r".+"):
        json_report.load(json_report.document(REPORT)[:end])


@pytest.mark.parametrize("field", [field.name for field in fields(Report)])
@pytest.mark.parametrize("value", [None, ["x"], True])
def test_a_report_with_a_field_of_another_type_is_refused(field: str, value: object) -> None:
    with pytest.raises(ValueError, match="not a report"):
        json_report.of_object(json_report.as_object(REPORT) | {field: value})


@pytest.mark.parametrize("field", [field.name for field in fields(Verdict)])
def test_a_verdict_that_lacks_a_field_is_refused(field: str) -> None:
    known = json_report.as_object(REPORT)
    del known["verdicts"][1][field]
    with pytest.raises(ValueError, match="not a report"):
        json_report.of_object(known)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        "[" * 100_000,
        json_report.document(REPORT).replace('"format": 1', '"format": 2'),
        json_report.document(REPORT).replace('"format": 1', '"format": true'),
        json_report.document(REPORT).replace('"failed"', '"broken"'),
        json_report.document(REPORT).replace('"seconds": 4.25', '"seconds": NaN'),
    ],
    ids=range(8),
)
def test_what_is_no_report_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        json_report.load(text)


# ---- JUnit ----


def cases(document: str) -> list[ET.Element]:
    return list(ET.fromstring(document).iter("testcase"))


def test_each_rule_is_a_test_case() -> None:
    found = cases(junit.document(REPORT))
    assert [[child.tag for child in case] for case in found] == [
        [],
        ["failure"],
        ["failure"],
        ["skipped"],
        ["skipped"],
        ["skipped"],
        [],
        ["failure"],
    ]
    assert found[0].attrib == {
        "classname": "pyharness.check",
        "name": "builds: The module builds.",
        "time": "4.250",
    }
    failure = found[1][0]
    assert failure.attrib["message"] == TWICE.title
    assert failure.text
    assert "wanted: 0, -EBUSY\nKernel log:\n[  385.932026]" in failure.text
    assert found[3][0].attrib["message"] == "because intercept-twice failed"


def test_the_suite_counts_its_cases() -> None:
    suite = ET.fromstring(junit.document(REPORT))[0]
    counts = {name: suite.attrib[name] for name in ("tests", "failures", "errors", "skipped")}
    assert counts == {"tests": "8", "failures": "3", "errors": "0", "skipped": "3"}
    properties = {one.attrib["name"]: one.attrib["value"] for one in suite.iter("property")}
    assert (properties["points"], properties["most"], properties["seed"]) == ("10.5", "16", "7")


def test_a_problem_is_an_error() -> None:
    suite = ET.fromstring(junit.document(BROKEN))[0]
    assert (suite.attrib["tests"], suite.attrib["errors"]) == ("2", "1")
    assert suite[-1][0].tag == "error"
    assert suite[-1][0].attrib["message"] == "The guest did not boot."


@given(any_report=ANY_REPORT)
def test_any_report_is_valid_xml(any_report: Report) -> None:
    root = ET.fromstring(junit.document(any_report).encode())
    assert len(list(root.iter("testcase"))) == len(any_report.verdicts) + bool(any_report.problem)


def test_the_end_of_cdata_stays_what_it_is() -> None:
    verdict = replace(BEYOND, evidence="a]]>b\0")
    assert cases(junit.document(report(verdict)))[0][0].text == r"a]]>b\x00"


# ---- MarkUs ----


def test_a_line_for_markus() -> None:
    assert json.loads(markus.line(BUILDS, Redaction())) == {
        "name": "builds: The module builds.",
        "output": "",
        "marks_earned": 5,
        "marks_total": 5,
        "status": "pass",
        "time": 4250,
    }


@pytest.mark.parametrize(
    ("verdict", "status"),
    [
        (BUILDS, "pass"),
        (TWICE, "partial"),
        (HIDDEN, "fail"),
        (AFTER, "fail"),
        (HIDDEN_AFTER, "fail"),
        (replace(AFTER, because=""), "error"),
    ],
)
def test_the_status_for_markus(verdict: Verdict, status: str) -> None:
    assert json.loads(markus.line(verdict, Redaction()))["status"] == status


def test_bonus_marks_are_earned_of_none() -> None:
    known = json.loads(markus.line(BONUS, Redaction()))
    assert (known["marks_earned"], known["marks_total"]) == (5, 0)


def test_lines_for_markus_have_names_of_their_own_and_no_secret() -> None:
    redaction = Redaction()
    lines = [markus.line(verdict, redaction) for verdict in VERDICTS]
    assert len({json.loads(line)["name"] for line in lines}) == len(VERDICTS)
    assert "secret" not in "".join(lines)


def test_a_problem_is_the_last_line_for_markus() -> None:
    assert markus.end(REPORT) == ""
    assert json.loads(markus.end(BROKEN))["status"] == "error"


@given(any_report=ANY_REPORT)
def test_each_line_for_markus_is_one_ascii_line(any_report: Report) -> None:
    redaction = Redaction()
    for verdict in any_report.verdicts:
        line = markus.line(verdict, redaction)
        assert line.isascii()
        assert "\n" not in line
        assert "\\u0000" not in line


# ---- Gradescope ----


def test_the_results_for_gradescope() -> None:
    known = json.loads(gradescope.document(REPORT))
    assert (known["score"], known["execution_time"]) == (10.5, 14)
    assert "10.5 of 16 points" in known["output"]
    assert "a hidden rule: failed (0/4)" in known["output"]
    builds, twice, hidden, *_, bonus, _beyond = known["tests"]
    assert builds == {
        "name": "builds: The module builds.",
        "score": 5,
        "max_score": 5,
        "status": "passed",
        "output": "",
        "output_format": "text",
        "visibility": "visible",
    }
    assert (twice["score"], twice["max_score"], twice["status"]) == (0.5, 2, "failed")
    assert hidden["visibility"] == "hidden"
    assert (bonus["score"], bonus["max_score"]) == (5, 0)
    assert bonus["name"].endswith(" (bonus)")


def test_gradescope_shows_an_instructor_hidden_rules_and_a_student_none() -> None:
    known = json.loads(gradescope.document(REPORT))
    for test in known["tests"]:
        assert ("secret" in json.dumps(test)) == (test["visibility"] == "hidden")
    assert "secret" not in known["output"]


# ---- a class ----


def test_the_csv_has_a_line_for_each_student() -> None:
    other = report(BUILDS, BEYOND, submission="=1+1", problem="a\nb, c")
    rows = list(csv.DictReader(io.StringIO(class_table.as_csv([REPORT, other]))))
    rules = [verdict.rule for verdict in VERDICTS]
    assert list(rows[0]) == ["student", "points", "most", *rules, "problem"]
    assert rows[0]["student"] == "ada_lovelace"
    assert (rows[0]["points"], rows[0]["storm-secret"]) == ("10.5", "failed")
    assert rows[0]["one-wins"] == "not decided"
    assert (rows[1]["student"], rows[1]["one-wins"]) == ("'=1+1", "")
    assert rows[1]["problem"] == r"a\nb, c"


@given(any_report=ANY_REPORT)
def test_any_class_has_as_many_lines_as_students(any_report: Report) -> None:
    written = class_table.as_csv([any_report, REPORT])
    assert written.count("\n") == 3
    written.encode()


# ---- the documentation ----


def test_the_document_has_each_field_of_the_json() -> None:
    rows = re.findall(r"^\| (`.*?) \| [a-z]+ \|", DOCUMENT.read_text(encoding="utf-8"), re.M)
    found = {name for row in rows for name in re.findall(r"`([\w\[\].]+)`", row)}
    known = json_report.as_object(REPORT)
    inner = {f"verdicts[].{name}" for name in known["verdicts"][0]}
    assert found == {*known} - {"format"} | inner
