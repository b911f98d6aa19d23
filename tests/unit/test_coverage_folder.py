# SPDX-License-Identifier: GPL-2.0
"""The folder of coverage reports is no part of a module's source."""

from pathlib import Path

import pytest

from pyharness.guest import coverage_report
from pyharness.guest.module_source import ModuleSource


@pytest.mark.parametrize(
    ("there", "is_ignored"),
    [((), True), (("module.json", "html"), True), (("module.json", "more.c"), False)],
)
def test_a_folder_of_reports_alone_is_ignored(
    tmp_path: Path, there: tuple[str, ...], is_ignored: bool
) -> None:
    """Also one that was there without a .gitignore."""
    (tmp_path / "Kbuild").write_text("obj-m := ring.o\n", encoding="ascii")
    reports = tmp_path / "module-coverage"
    for name in there:
        reports.mkdir(exist_ok=True)
        (reports / name).touch()
    coverage_report.make_folder(reports)
    (reports / "module.lcov").touch()
    files = {path.name for path in ModuleSource(tmp_path).files} - {"Kbuild"}
    assert files == (set() if is_ignored else {*there, "module.lcov"})
