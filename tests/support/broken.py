# SPDX-License-Identifier: GPL-2.0
"""Modules broken on purpose: copies of the real one with some lines changed.

What is changed is a patch, in tests/mutants and tests/broken: a header in the form of an
email's (``Subject:`` and what else its reader needs), an empty line, and a unified diff. A hunk
is found by its lines, which must occur once in the file, and not by its line number. The patches
of the classic solution, in tests/classic/mutants, have the same form.
"""

import re
from dataclasses import dataclass
from email.message import Message
from email.parser import Parser
from itertools import takewhile
from pathlib import Path

from pyharness.guest.module_source import ModuleSource
from pyharness.interceptor import MODULE

TESTS = Path(__file__).parents[1]


@dataclass(frozen=True)
class Change:
    """Some text of a file of the module, and what it becomes."""

    old: str
    new: str
    file: str = "interceptor.c"


@dataclass(frozen=True)
class Patch:
    """A patch of a module: its header, and its hunks."""

    header: Message
    changes: tuple[Change, ...]


def read(path: Path) -> Patch:
    """Read a patch file."""
    text = path.read_text(encoding="utf-8")
    header, _, diff = text.partition("\n\n")
    changes: list[Change] = []
    for of_file in re.split(r"^--- a/(?:module/)?", diff, flags=re.MULTILINE)[1:]:
        names, *hunks = of_file.split("\n@@ ")
        for hunk in hunks:
            lines = hunk.splitlines(keepends=True)[1:]
            old, new = (
                "".join(line[1:] for line in lines if line[0] in signs) for signs in (" -", " +")
            )
            changes.append(Change(old, new, names.partition("\n")[0]))
    return Patch(Parser().parsestr(header), tuple(changes))


def patches(folder: str) -> dict[str, Patch]:
    """The patches of a folder of the tests, by subject."""
    found = [read(path) for path in sorted((TESTS / folder).glob("*.patch"))]
    return {patch.header["Subject"]: patch for patch in found}


BROKEN = {subject: patch.changes for subject, patch in patches("broken").items()}


def write(folder: Path, *changes: Change) -> Path:
    """Make a copy of the module with some changes."""
    folder.mkdir()
    for path in ModuleSource(MODULE).paths:
        (folder / path.name).write_bytes(path.read_bytes())
    for change in changes:
        make(folder, change)
    return folder


def make(folder: Path, change: Change) -> None:
    """Make a change to a copy of the module."""
    path = folder / change.file
    text = path.read_text(encoding="utf-8")
    assert text.count(change.old) == 1, f"{change.file} has not one {change.old!r} to break"
    path.write_text(text.replace(change.old, change.new), encoding="utf-8")


def lines_of(folder: Path, change: Change) -> tuple[str, range]:
    """The file of a change that was made, and its lines, with the one after them."""
    text = (folder / change.file).read_text(encoding="utf-8")
    begin = text[: text.index(change.new)].count("\n") + 1
    old, new = change.old.splitlines(), change.new.splitlines()
    before = _same(old, new)
    after = _same(old[before:][::-1], new[before:][::-1])
    return change.file, range(begin + before, begin + len(new) - after + 1)


def _same(one: list[str], other: list[str]) -> int:
    """How many lines are the same at the beginning of both."""
    pairs = zip(one, other, strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
