# SPDX-License-Identifier: GPL-2.0
"""The HTML pages in a real browser: they fit on a phone, and load nothing."""

import json
import re
import subprocess
from dataclasses import replace
from html import escape, unescape
from pathlib import Path
from typing import Any

import pytest
from sample_reports import BEYOND, BUILDS, REPORT, TWICE, VERDICTS, report

from pyharness.host.programs import requires
from pyharness.interceptor.rules.reports import html_class, html_student

LONG = "x" * 3000
# Words that can't be broken where a space is, and many of everything.
WIDE = report(
    *(replace(verdict, rule=f"{verdict.rule}-{LONG[:40]}") for verdict in VERDICTS),
    replace(TWICE, rule=LONG[:200], title=LONG, evidence=LONG, log=LONG, crash=LONG),
    replace(BEYOND, title=LONG),
    submission=LONG[:200],
    problem=LONG,
)
CLASS = [WIDE, REPORT, *(report(BUILDS, submission=f"student{n}") for n in range(40))]
PAGES = {
    "student": html_student.page(REPORT),
    "wide student": html_student.page(WIDE),
    "class": html_class.page(CLASS, title="Class"),
}
# Loads the page into a frame of some width, and writes what is found there into the document.
FRAME = """<!DOCTYPE html><meta charset="utf-8"><body><pre></pre>
<iframe style="border: 0; width: {width}px; height: 800px" srcdoc="{page}"></iframe><script>
const frame = document.querySelector("iframe");
frame.onload = () => setTimeout(() => {{
  const root = frame.contentDocument.documentElement;
  document.querySelector("pre").textContent = JSON.stringify({{
    width: root.clientWidth,
    needs: root.scrollWidth,
    loads: frame.contentWindow.performance.getEntriesByType("resource").map(one => one.name),
    text: root.querySelector("h1").textContent,
  }});
}}, 500);
</script>"""


def opened(page: str, width: int, folder: Path) -> dict[str, Any]:
    """What a browser finds in a page in a window of that width."""
    file = folder / "frame.html"
    file.write_text(FRAME.format(width=width, page=escape(page)), encoding="utf-8")
    requires("chromium")
    done = subprocess.run(
        [
            "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
            f"--user-data-dir={folder}/profile", "--virtual-time-budget=5000", "--dump-dom",
            file.as_uri(),
        ],
        capture_output=True,
        text=True,
        check=True,
    )  # fmt: skip
    found = re.search("<pre>(.+?)</pre>", done.stdout)
    assert found, done.stdout[-1000:] + done.stderr
    known: dict[str, Any] = json.loads(unescape(found[1]))
    assert known["width"] == width
    return known


@pytest.mark.parametrize("width", [320, 390, 1280])
@pytest.mark.parametrize("name", PAGES)
def test_nothing_is_wider_than_the_window(name: str, width: int, tmp_path: Path) -> None:
    found = opened(PAGES[name], width, tmp_path)
    assert found["needs"] == width


@pytest.mark.parametrize("name", PAGES)
def test_nothing_is_loaded_even_without_the_policy(name: str, tmp_path: Path) -> None:
    """The page has a policy against it; without that, there is nothing to load, either."""
    page, number = re.subn(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", PAGES[name])
    assert number == 1
    assert opened(page, 390, tmp_path)["loads"] == []


def test_these_tests_find_what_they_look_for(tmp_path: Path) -> None:
    bad = '<h1>x</h1><img src="http://127.0.0.1:9/x.png"><p style="width: 500px">x</p>'
    found = opened(f"<!DOCTYPE html>{bad}", 390, tmp_path)
    assert found["needs"] > 390
    assert found["loads"] == ["http://127.0.0.1:9/x.png"]


def test_markup_in_a_name_is_text(tmp_path: Path) -> None:
    name = "<img src=x onerror=alert(1)>&amp;</title>"
    page = html_student.page(report(BUILDS, submission=name))
    found = opened(page, 390, tmp_path)
    assert found["text"] == name
    assert found["loads"] == []
