# SPDX-License-Identifier: GPL-2.0
"""The folder with the marks of a class: what is in it already, and what is written to it."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from pyharness.host import atomic, json_store
from pyharness.interceptor.rules.class_folder import CLASS, digest
from pyharness.interceptor.rules.reports import (
    class_table,
    html_class,
    html_student,
    json_report,
)
from pyharness.interceptor.rules.rule import Rule
from pyharness.interceptor.rules.scheme import Scheme
from pyharness.interceptor.rules.settings import Settings
from pyharness.interceptor.rules.verdict import Report

_FORMAT = 1  # of class.json
_CLASS_FACTS = {"format": int, "seed": int}


def scheme_digest(scheme: Scheme, rules: Sequence[Rule]) -> str:
    """Return a digest of all by which modules are marked, as hexadecimal digits.

    Args:
        scheme: the scheme, of which the name does not count.
        rules: the rules that are decided.
    """
    facts = asdict(scheme) | {
        "name": "",
        "hidden": sorted(scheme.hidden),
        "without": sorted(scheme.without),
        "rules": [[rule.id, scheme.points.get(rule.id, rule.points), rule.bonus] for rule in rules],
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Inputs:
    """All that a report depends on.

    Attributes:
        submission: the digest of the submission's content.
        scheme: the digest of the scheme and the rules.
        guest: the name of the guest.
        seed: the seed of the random arguments.
    """

    submission: str
    scheme: str
    guest: str
    seed: int


def inputs_of(settings: Settings, archive: str, data: bytes) -> Inputs:
    """Return what the report about a submission depends on.

    Args:
        settings: how it is checked.
        archive: the name of the archive that it is packed in.
        data: the archive.
    """
    return Inputs(
        submission=digest(archive, data),
        scheme=scheme_digest(settings.scheme, settings.rules),
        guest=settings.guest,
        seed=settings.seed,
    )


@dataclass(frozen=True)
class Marks:
    """The folder with the marks of a class.

    Attributes:
        folder: the folder, which exists.
    """

    folder: Path

    def seed(self, chosen: int | None, otherwise: int) -> int:
        """Return the seed that all modules of the class are checked by, and keep it.

        Args:
            chosen: the seed that the user named; None: the one that was kept, if there is one.
            otherwise: the seed if there is no other.
        """
        path = self.folder / f"{CLASS}.json"
        known = json_store.read(path, _CLASS_FACTS)
        kept = known["seed"] if known and known["format"] == _FORMAT else None
        seed = next(number for number in (chosen, kept, otherwise) if number is not None)
        if seed != kept:
            atomic.write_text(path, json.dumps({"format": _FORMAT, "seed": seed}) + "\n")
        return seed

    def kept(self, name: str, inputs: Inputs) -> Report | None:
        """Return the report of a student if it is whole, came to its end, and is of these inputs.

        Args:
            name: the submission's name.
            inputs: what the report has to depend on.
        """
        try:
            known = json.loads((self.folder / f"{name}.json").read_text(encoding="utf-8"))
            report = json_report.of_object(known)
        except (FileNotFoundError, ValueError, RecursionError):
            return None
        if report.problem or known.get("inputs") != asdict(inputs):
            return None
        return replace(report, submission=name)

    def has(self, name: str) -> bool:
        """Return whether there is a report of a student, whatever it is."""
        return (self.folder / f"{name}.json").exists()

    def record(self, report: Report, inputs: Inputs) -> None:
        """Write a student's page and report. Where there is a report, there is the page, too.

        Args:
            report: the report.
            inputs: what it depends on.
        """
        name = report.submission
        known = json_report.as_object(report) | {"inputs": asdict(inputs)}
        text = json.dumps(known, indent=2, ensure_ascii=False) + "\n"
        atomic.write_text(self.folder / f"{name}.html", html_student.page(report))
        atomic.write_text(self.folder / f"{name}.json", text)

    def record_class(self, reports: Sequence[Report], title: str) -> None:
        """Write the table of the class, as CSV and as a page that links to the students' pages.

        Args:
            reports: the reports, all of which are recorded.
            title: the title of the page.
        """
        pages = {report.submission: f"{report.submission}.html" for report in reports}
        page = html_class.page(reports, title=title, pages=pages)
        atomic.write_text(self.folder / f"{CLASS}.html", page)
        atomic.write_text(self.folder / f"{CLASS}.csv", class_table.as_csv(reports))
