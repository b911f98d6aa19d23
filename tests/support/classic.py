# SPDX-License-Identifier: GPL-2.0
"""The solution of the classic kind, its mutants, and what a check of one decides."""

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from broken import make, read

from pyharness.interceptor.rules.catalogue import RULES
from pyharness.interceptor.rules.verdict import Outcome

CLASSIC = Path(__file__).parents[1] / "classic"
SOLUTION = CLASSIC / "solution"
MUTANTS = {path.stem: path for path in sorted((CLASSIC / "mutants").glob("*.patch"))}
_CHECK_SECONDS = 600


def breaks(name: str) -> set[str]:
    """The rules that a mutant breaks itself, as its patch says."""
    return {rule.strip() for rule in read(MUTANTS[name]).header["Breaks"].split(",")}


def lost(name: str) -> set[str]:
    """The rules that a mutant breaks, and those that can't be decided because of that."""
    found = breaks(name)
    for rule in RULES:  # each comes after those that it depends on
        if found.intersection(rule.after):
            found.add(rule.id)
    return found


def mutant(name: str, folder: Path) -> Path:
    """Make a mutant in a folder, which is created."""
    shutil.copytree(SOLUTION, folder)
    for change in read(MUTANTS[name]).changes:
        make(folder, change)
    return folder


@dataclass(frozen=True)
class Checked:
    """What ``pyharness check --json`` has said.

    Attributes:
        status: its exit status.
        verdicts: each rule's verdict, by the rule's id.
        report: all of it.
    """

    status: int
    verdicts: dict[str, dict[str, Any]]
    report: dict[str, Any]

    def rules(self, outcome: Outcome) -> set[str]:
        """The rules that earn points and ended so."""
        return {
            rule
            for rule, verdict in self.verdicts.items()
            if verdict["outcome"] == outcome and verdict["most"]
        }


def check(path: Path, *options: str) -> Checked:
    """Check a submission by the command line, with a seed of its own."""
    line = [sys.executable, "-m", "pyharness", "check", str(path), "--seed=1", "--json", *options]
    done = subprocess.run(line, capture_output=True, text=True, timeout=_CHECK_SECONDS, check=False)
    assert done.stdout, (done.returncode, done.stderr)
    report = json.loads(done.stdout)
    return Checked(done.returncode, {v["rule"]: v for v in report["verdicts"]}, report)
