# SPDX-License-Identifier: GPL-2.0
"""The examples in README.md and docs/ work, and the tables and lists there are complete."""

import re
import subprocess
import sys
from pathlib import Path

import matrix
import pytest

from pyharness import Guest
from pyharness.cli import cli
from pyharness.machine import guest_specs

pytestmark = pytest.mark.smoke

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCUMENTS = sorted((ROOT / "docs").glob("*.md"))


def block(kind: str, document: str) -> str:
    """The only fenced block of that kind in a document."""
    everything = (ROOT / document).read_text(encoding="utf-8")
    (text,) = re.findall(rf"^```{kind}\n(.*?)^```", everything, re.MULTILINE | re.DOTALL)
    return str(text)


def output_of(program: str) -> list[str]:
    """The lines that a Python program prints."""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True
    )
    return done.stdout.splitlines()


@pytest.mark.architecture("i386")  # whose numbers it shows
def test_by_hand_in_the_guest(bare_guest: Guest, by_hand: str) -> None:
    done = bare_guest.run(
        "bash -e", stdin=block("sh guest", "docs/by-hand.md").encode(), seconds=60
    ).check()
    lines = [line for line in done.stdout.splitlines() if not line.startswith(("make", "  "))]
    loaded, intercepted, started, status, everybody, stop, release, by_c, by_python = lines
    assert "interceptor: loaded" in loaded
    assert [intercepted, started, everybody, stop, release] == ["0"] * 5
    assert status == "39 listed"  # the program that was monitored has ended
    for line in (by_c, by_python):
        assert re.search(r"\[[0-9a-f]+\]27\((?:[0-9a-f]+,){5}[0-9a-f]+\)$", line)
    assert not bare_guest.is_loaded("interceptor")
    bare_guest.run(f"rm {by_hand}/try {by_hand}/try.c").check()


@pytest.mark.alone
def test_from_python(guest: Guest) -> None:
    first, second, third, fourth, *rest = output_of(block("python", "docs/python.md"))
    assert (first, second, fourth) == ("0", "-EEXIST", "-EPERM")
    assert re.fullmatch(r"\[\d+\] mkdir\((0x[0-9a-f]+, ){5}0x[0-9a-f]+\)", third)
    assert rest[-1] == guest.facts.release


@pytest.mark.alone
def test_from_python_in_the_readme(guest: Guest) -> None:
    result, call = output_of(block("python", "README.md"))
    assert result == "-EEXIST"
    assert re.fullmatch(r"\[\d+\] mkdir\((0x[0-9a-f]+, ){5}0x[0-9a-f]+\)", call)


def test_the_readme_has_every_command() -> None:
    section = README.split("## The command line")[1].split("##")[0]
    for name in cli.commands:
        assert re.search(rf"`{name}\b", section), name


def test_the_readme_has_every_guest() -> None:
    guests = re.findall(
        r"^\| `([\w-]+)`[^|]* \|[^|]*\| (the table|its handler) \|", README, re.MULTILINE
    )
    dispatch = {"the table": "table", "its handler": "handler"}
    assert {name: dispatch[by] for name, by in guests} == {
        s.name: s.dispatch for s in guest_specs.load().values()
    }


def test_the_table_of_all_guests_has_every_run_and_all_passed() -> None:
    row = r"^\| `([\w-]+)` \| \d[\w.+-]* \| (\w+) \| (\w+) \| \d+ passed \| \d+ min \|$"
    claims = (ROOT / "docs/claims.md").read_text(encoding="utf-8")
    wanted = [row for row in matrix.all_rows() if row[2] in ("all", "core", "neighbours")]
    assert re.findall(row, claims, re.MULTILINE) == wanted


def anchors(document: Path) -> set[str]:
    """The anchors that GitHub gives to a document's headings."""
    headings = re.findall(r"^#+ (.*)$", document.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", [ROOT / "README.md", *DOCUMENTS], ids=lambda path: path.name)
def test_every_link_has_a_target(document: Path) -> None:
    for target, anchor in re.findall(
        r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)", document.read_text(encoding="utf-8")
    ):
        path = document.parent / target if target else document
        assert path.exists(), target
        assert not anchor or anchor in anchors(path), (target, anchor)


def test_the_readme_is_short_and_links_every_document() -> None:
    assert len(README.split()) <= 2000
    linked = re.findall(r"\]\((docs/[\w-]+\.md)", README)
    assert {*linked} == {f"docs/{document.name}" for document in DOCUMENTS}


def test_every_claim_names_a_test_that_there_is() -> None:
    here = Path(__file__).parents[1]
    claims = (here.parent / "docs" / "claims.md").read_text(encoding="utf-8")
    named = re.findall(r"`([a-z]+/test_\w+\.py)(?:::(\w+))?`", claims)
    assert len(named) > 30
    for file, test in named:
        text = (here / file).read_text(encoding="utf-8")
        assert f"def {test or 'test_'}" in text, (file, test)
