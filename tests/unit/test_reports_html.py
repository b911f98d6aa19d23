# SPDX-License-Identifier: GPL-2.0
"""The HTML pages, as text; journeys/test_html_reports.py opens them in a browser."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import hypothesis_profile  # noqa: F401
import pytest
from hypothesis import given
from hypothesis import strategies as some
from sample_reports import BEYOND, BROKEN, BUILDS, GOOD, REPORT, TWICE, report

from pyharness.interceptor.rules.reports import html_class, html_student

STUDENT = html_student.page(REPORT)
CLASS = html_class.page([REPORT, BROKEN], title="Class <1>", pages={"ada_lovelace": "a b/x.html"})
VOID = {"meta"}


class Elements(HTMLParser):
    """The elements and the text of a page, all of which must be closed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(page)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: object) -> None:  # noqa: ARG002
        self.tags.append(tag)
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open[-1:] != ["style"]:
            self.text += data


def test_what_a_student_has_to_look_at_comes_first() -> None:
    text = Elements(STUDENT).text
    places = [text.index(title) for title in ("Failed (3)", "Not decided (3)", "Passed (2)")]
    assert places == sorted(places)
    assert "Passed" not in Elements(html_student.page(report(BEYOND))).text


def test_a_page_has_the_evidence_and_what_it_was_checked_on() -> None:
    text = Elements(STUDENT).text
    for part in (
        "10.5 of 16 points, 5 of them bonus points",
        "The module keeps 2 of 8 rules",
        "wanted: 0, -EBUSY",
        TWICE.title,
        "module.c:17: my_syscall()",
        "because intercept-twice failed",
        "bullseye-i386",
    ):
        assert part in text
    assert BUILDS.evidence not in text


def test_a_problem_stands_out() -> None:
    assert '<p class="problem">The module could not be' in html_student.page(BROKEN)
    assert "problem" not in re.sub("(?s)<style>.*</style>", "", html_student.page(GOOD))


@pytest.mark.parametrize("page", [STUDENT, CLASS], ids=["student", "class"])
def test_a_page_loads_nothing_and_has_no_script(page: str) -> None:
    assert page.startswith("<!DOCTYPE html>\n<html")
    assert not {"script", "link", "img", "iframe", "form", "object"} & {*Elements(page).tags}
    assert not re.search(r"url\(|@import|\ssrc=|\son\w+=|https?:", page)
    assert "default-src 'none'" in page


@given(evil=some.text(some.sampled_from("<>&'\"]!-/ \n\0\ud800ab=")))
def test_what_a_module_says_is_no_markup(evil: str) -> None:
    usual = Elements(html_student.page(report(replace(BEYOND, evidence="e", log="l"))))
    verdict = replace(BEYOND, title=evil, evidence=f"e{evil}", log=f"l{evil}")
    found = Elements(html_student.page(report(verdict, submission=evil)))
    assert found.tags == usual.tags
    html_class.page([report(verdict, submission=evil)], title=evil).encode()


def test_the_median_is_of_the_students_who_are_marked() -> None:
    page = html_class.page([REPORT, GOOD], title="a2")
    assert "2 students. The median is 10.25 of 16 points." in Elements(page).text
    page = html_class.page([BROKEN, BROKEN], title="a2")
    assert "2 students, 2 of them not marked." in Elements(page).text
    assert "median" not in Elements(page).text


def test_the_class_page_has_students_rules_and_counts() -> None:
    text = Elements(CLASS).text
    assert "2 students, 1 of them not marked. The median is 10.5 of 16 points." in text
    assert "ada_lovelace: The module could not be checked to the end" in text
    assert "storm-secret" in text
    assert 'href="a%20b/x.html"' in CLASS
    assert "Class &lt;1&gt;" in CLASS
    assert 'title="one-wins: not decided, because intercept-twice failed, 0/3"' in CLASS
    assert 'title="storm-secret (hidden): failed, 0/4"' in CLASS
    counts = re.findall(r"<tfoot>.*</tfoot>", CLASS)[0]
    assert re.findall(r"<td>(\d+)</td>", counts) == ["2", "0", "0", "0", "0", "0", "1", "0"]


def test_a_class_may_be_empty() -> None:
    assert "0 students." in Elements(html_class.page([], title="none")).text
