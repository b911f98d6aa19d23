# SPDX-License-Identifier: GPL-2.0
"""What the HTML pages share: one file that loads nothing, and the signs of the outcomes. Pure."""

from xml.etree import ElementTree as ET

from pyharness.interceptor.rules.reports.html_style import STYLE
from pyharness.interceptor.rules.reports.markup import element
from pyharness.interceptor.rules.verdict import Outcome

SIGNS = {Outcome.PASSED: "✓", Outcome.FAILED: "✗", Outcome.UNDECIDED: "?"}
CLASSES = {Outcome.PASSED: "passed", Outcome.FAILED: "failed", Outcome.UNDECIDED: "undecided"}
# A browser that shows the page loads nothing, and runs no script.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def document(title: str, *content: ET.Element | None, wide: bool = False) -> str:
    """Return an HTML page.

    Args:
        title: its title.
        content: what it shows.
        wide: whether it takes all of the window's width.
    """
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        element("title", title),
        element("style", STYLE),
    )
    body = element("body", *content, class_="wide" if wide else "narrow")
    page = element("html", head, body, lang="en")
    return f"<!DOCTYPE html>\n{ET.tostring(page, encoding='unicode', method='html')}\n"
