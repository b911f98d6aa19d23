# SPDX-License-Identifier: GPL-2.0
"""The public interface is what the documents say: no name is missing there, and none too many."""

import re
from pathlib import Path
from types import ModuleType

import pytest

import pyharness
from pyharness import interceptor
from pyharness.pytest_plugin import fixtures, options

DOCS = Path(__file__).parents[2] / "docs"


def rows(document: str, heading: str) -> list[str]:
    """The rows of the table in a document whose first column has that heading."""
    text = (DOCS / document).read_text(encoding="utf-8")
    (table,) = re.findall(
        rf"^\| {re.escape(heading)} \|.*\n\|[-|]+\n((?:\|.*\n)+)", text, re.MULTILINE
    )
    return str(table).splitlines()


def names_in(line: str) -> set[str]:
    """The names in a table's row that are not attributes or calls."""
    return set(re.findall(r"`(\w+)`", line))


@pytest.mark.parametrize("module", [pyharness, interceptor], ids=lambda module: module.__name__)
def test_the_documents_have_each_public_name(module: ModuleType) -> None:
    found = set().union(*map(names_in, rows("python.md", f"in `{module.__name__}`")))
    others = {"kernel_log"}  # a fixture, in the row of what it is
    assert found - others == {*module.__all__}
    assert all(hasattr(module, name) for name in module.__all__)


def test_the_documents_have_each_fixture() -> None:
    public = {
        name
        for name, value in vars(fixtures).items()
        if type(value).__name__ == "FixtureFunctionDefinition"
    }
    found = set().union(*(names_in(row.split("|")[1]) for row in rows("plugin.md", "fixture")))
    assert found == public


def test_the_documents_have_each_option() -> None:
    found = set(re.findall(r"`(--[\w-]+)[=[`]", "\n".join(rows("plugin.md", "option"))))
    assert found == {*options.OPTIONS}


def test_the_documents_have_each_marker() -> None:
    found = {re.findall(r"\| `(\w+)", row)[0] for row in rows("plugin.md", "marker")}
    assert found == {re.match(r"\w+", marker)[0] for marker in options.MARKERS}  # type: ignore[index]
