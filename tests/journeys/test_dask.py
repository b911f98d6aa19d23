# SPDX-License-Identifier: GPL-2.0
"""A class is marked, and the guests are tested, by the workers of a Dask scheduler."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import classic
import dask_cluster
import pytest

ROOT = Path(__file__).parents[2]
COPIES = 20


def marks_of(report: dict[str, Any]) -> list[tuple[str, str, float]]:
    return [
        (verdict["rule"], verdict["outcome"], verdict["points"]) for verdict in report["verdicts"]
    ]


@pytest.mark.alone
@pytest.mark.test_limit(7200)
def test_the_same_module_gets_the_same_marks_though_a_worker_is_lost(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    students = [f"student-{number:02}" for number in range(COPIES)]
    for student in students:
        shutil.copytree(classic.SOLUTION, tmp_path / "class" / student)
    out = tmp_path / "class-marks"
    with dask_cluster.cluster() as cluster:
        line = ["check", "--class", str(tmp_path / "class"), "--scheduler", cluster.address]
        with subprocess.Popen(
            [sys.executable, "-m", "pyharness", *line],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as command:
            assert command.stderr
            for said in command.stderr:
                if f"{COPIES // 2} of {COPIES}" in said:
                    cluster.workers[0].kill()
                    break
            printed, _ = command.communicate()
    assert command.returncode == 0
    reports = {
        path.stem: json.loads(path.read_text(encoding="utf-8"))
        for path in out.glob("student-*.json")
    }
    assert sorted(reports) == students
    assert [line.split()[0] for line in printed.splitlines() if "student-" in line] == students
    assert not any(report["problem"] for report in reports.values())
    first = marks_of(reports[students[0]])
    assert all(marks_of(report) == first for report in reports.values())
    seconds = [sum(v["seconds"] for v in report["verdicts"]) for report in reports.values()]
    record_property("seconds of a check, least and most", (min(seconds), max(seconds)))


@pytest.mark.alone
@pytest.mark.test_limit(1800)
def test_each_guest_is_tested_by_a_worker() -> None:
    guests = ["bullseye-i386", "bookworm-i386"]
    with dask_cluster.cluster() as cluster:
        done = subprocess.run(
            [
                sys.executable, "tests/support/spread.py", cluster.address,
                *(f"--guest={guest}" for guest in guests),
                "tests/contract/test_monitoring.py", "-k", "follows",
            ],
            cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [line for line in done.stdout.splitlines() if line.startswith("| `")]
    assert len(rows) == 3  # one of them has two methods
    assert all("| 1 passed |" in row for row in rows)
