# SPDX-License-Identifier: GPL-2.0
"""Text that a student's module or files can have is searched in a time that grows with its length.

Python's regular expressions hold the interpreter's lock: nothing else runs meanwhile, not even the
handler of a signal.
"""

from pathlib import Path

import pytest

from pyharness.guest.module_source import ModuleSource
from pyharness.linux import trouble

pytestmark = pytest.mark.test_limit(20)

_SIZE = 1 << 19  # of the part of a console's output that is searched at once


def repeated(text: str, size: int = _SIZE) -> str:
    return text * (size // len(text))


@pytest.mark.parametrize(
    "part",
    ["BUG: ", "WARNING: ", "INFO: task ", "INFO: rcu_a ", "Slab ", "BUG: a", "[ ", "\x1b[0", "<1"],
)
@pytest.mark.parametrize("ahead", ["", "[    1.000000] "])
def test_a_report_is_searched_in_one_long_line(ahead: str, part: str) -> None:
    trouble.reports(ahead + repeated(part))
    trouble.is_trouble(ahead + repeated(part))


@pytest.mark.parametrize("part", ["a", "a.", "RIP: a", "pc : 0x1"])
def test_places_are_searched_in_one_long_line(part: str) -> None:
    for line in ("BUG: " + repeated(part), f"BUG: {repeated(part, 1000)}\n" * 500):
        assert trouble.annotate(line.rstrip(), lambda _: "") == line.rstrip()


def test_what_the_kernel_prints_in_one_line_is_searched() -> None:
    """A program may have begun the line, and the kernel's own messages have up to 1,024 bytes."""
    text = repeated("x") + "[    1.000000] " + "y" * 900 + " BUG: unable to handle"
    assert [report.kind for report in trouble.reports(text)] == ["oops"]
    place = "x" * 900 + " made_up+0x1/0x20 [it]"
    assert trouble.annotate(place, lambda at: at.function) == f"{place} at made_up"


@pytest.mark.parametrize(
    ("file", "text"),
    [
        (".gitignore", "\n" * 100_000 + "x"),
        (".gitignore", "# \n" * 100_000 + "x"),
        ("interceptor.c", "\n" * 400_000),
        ("interceptor.c", '#include "' * 100_000),
        ("Makefile", "obj-m" * 100_000),
        ("Makefile", "obj-m := " + "a" * 400_000),
    ],
)
def test_a_modules_files_are_searched_at_once(tmp_path: Path, file: str, text: str) -> None:
    (tmp_path / "tests").mkdir()  # whose files are left out unless another file names them
    (tmp_path / "Kbuild").write_text("obj-m := interceptor.o\n", encoding="ascii")
    for folder in (tmp_path, tmp_path / "tests"):
        (folder / file).write_text(text, encoding="ascii")
        (folder / "main.c").touch()
    source = ModuleSource(tmp_path)
    assert source.files
    assert source.name == "interceptor"
