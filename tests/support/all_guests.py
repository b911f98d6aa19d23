# SPDX-License-Identifier: GPL-2.0
"""Run the tests in every guest, side by side as the cores allow; ends with a table of outcomes.

Run as a program (``make test-all``)::

    all_guests.py [--only NAME[:METHOD] ...] [--brief] [--have NAME:METHOD ...] [--folder DIR]

Guests with PREEMPT_RT, and the one with tracers, are run by --only alone.
Each run is of one guest and one method by which the module intercepts. What is
run is what EXTENT says, and CORE everywhere else; with --brief, BRIEF everywhere.
Runs that make test has made already are in the table without being made again.

A run leaves its files in the folder: GUEST-METHOD.xml (JUnit), .json (its report),
.log (what it printed) and the consoles in GUEST-METHOD/; all-guests.xml has all of
JUnit's, table.md the table.
"""

import argparse
import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pyharness.machine import guest_specs

ROOT = Path(__file__).parents[2]
BRIEF = (
    "contract/test_intercept.py",
    "contract/test_monitoring.py",
    "contract/test_unload.py",
    "contract/test_restart.py",
    "contract/test_methods.py",
    "contract/test_compat_amd64.py",
    "contract/test_compat_arm64.py",
    "contract/test_load.py::test_modinfo_and_build_are_clean",
)
NEIGHBOURS = ("contract/test_neighbours.py",)
# Others who trace or patch the same calls, besides.
CORE = (*BRIEF, *NEIGHBOURS)
# The whole contract, death, and all at once, for kernels that schedule differently.
SOAK = (
    *CORE,
    "contract/test_death.py",
    "contract/test_permissions.py",
    "soak/test_log.py",
    "soak/test_oracle.py",
    "soak/test_races.py",
    "soak/test_storm.py",
)
# What is run, by the name of its extent; nothing stands for all. Those that last come first.
EXTENTS: dict[str, tuple[str, ...]] = {
    "all": (),
    "soak": SOAK,
    "core": CORE,
    "brief": BRIEF,
    "neighbours": NEIGHBOURS,
}
EXTENT = {
    "bookworm-i386": "all", "bullseye-i386": "all", "trixie-amd64": "all",
    "bookworm-rt-amd64": "soak", "trixie-rt-amd64": "soak", "bookworm-tools-amd64": "neighbours",
}  # fmt: skip

# These last long, and are run where they are named.
BY_NAME = {"bookworm-rt-amd64", "trixie-rt-amd64", "bookworm-tools-amd64"}


@dataclass(frozen=True)
class Run:
    """One run of pytest.

    Attributes:
        guest: the guest's name.
        method: ``table`` or ``handler``.
        extent: how much is run, as the table has it: a key of EXTENTS.
    """

    guest: str
    method: str
    extent: str

    @property
    def name(self) -> str:
        """As it is named on the command line."""
        return f"{self.guest}:{self.method}"

    @property
    def files(self) -> str:
        """What its files' names begin with."""
        return f"{self.guest}-{self.method}"

    @property
    def tests(self) -> tuple[str, ...]:
        """What is run, as pytest is asked for it; nothing stands for all."""
        brief = ("-m", "not endurance") if self.extent == "brief" else ()
        return (*(f"tests/{file}" for file in EXTENTS[self.extent]), *brief)


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        run: which.
        report: as docs/results.md has it; empty if it did not get to the tests.
        tail: the end of what it printed.
    """

    run: Run
    report: dict[str, Any]
    tail: str = ""

    @property
    def passed(self) -> bool:
        """Whether all tests did, and there were some."""
        counts = self.report.get("counts", {})
        return bool(counts) and 0 < counts["passed"] == sum(counts.values())

    def row(self) -> str:
        """As a line of the table."""
        counts = self.report.get("counts", {})
        ran = sum(counts.values())
        said = (
            f"{ran} passed"
            if self.passed
            else f"{ran - counts['passed']} of {ran} failed"
            if ran
            else "did not run"
        )
        kernel = (self.report.get("guest") or {}).get("kernel", "?")
        took = f"{self.report.get('seconds', 0) / 60:.0f} min"
        run = self.run
        return f"| `{run.guest}` | {kernel} | {run.method} | {run.extent} | {said} | {took} |"


def all_runs() -> list[Run]:
    """Every guest by the method that it needs, and by handlers where that is the table."""
    runs = []
    for spec in guest_specs.load().values():
        methods = ("table", "handler") if spec.dispatch == "table" else ("handler",)
        runs += [Run(spec.name, method, EXTENT.get(spec.name, "core")) for method in methods]
    return runs


def carry_out(run: Run, folder: Path) -> Outcome:
    """Run the tests of one guest."""
    xml, report, log = (folder / f"{run.files}.{kind}" for kind in ("xml", "json", "log"))
    for old in (xml, report):
        old.unlink(missing_ok=True)
    command = [
        sys.executable, "-m", "pytest", "-q", f"--guest={run.guest}", f"--method={run.method}",
        f"--junitxml={xml}", "-o", f"junit_suite_name={run.name}", f"--results={report}",
        f"--artifacts={folder / run.files}", *run.tests,
    ]  # fmt: skip
    with log.open("w", encoding="utf-8") as out:
        subprocess.run(command, cwd=ROOT, stdout=out, stderr=subprocess.STDOUT, check=False)
    tail = "\n".join(log.read_text(encoding="utf-8").splitlines()[-15:])
    return Outcome(run, read(report), tail)


def read(report: Path) -> dict[str, Any]:
    """A run's report; empty if there is none."""
    return json.loads(report.read_text(encoding="utf-8")) if report.exists() else {}


def join(outcomes: list[Outcome], folder: Path) -> None:
    """One JUnit file of all; a run that did not get to its tests is an error in it."""
    whole = ET.Element("testsuites", name="all guests")
    for outcome in outcomes:
        xml = folder / f"{outcome.run.files}.xml"
        if xml.exists():
            whole.extend(ET.parse(xml).getroot().findall("testsuite"))
            continue
        suite = ET.SubElement(
            whole, "testsuite", name=outcome.run.name,
            tests="1", failures="0", errors="1", skipped="0",
        )  # fmt: skip
        case = ET.SubElement(suite, "testcase", classname=outcome.run.name, name="run")
        ET.SubElement(case, "error", message="the tests did not run").text = outcome.tail
    ET.ElementTree(whole).write(folder / "all-guests.xml", encoding="utf-8", xml_declaration=True)


def main() -> int:
    """Carry out the runs, and tell of each as it ends."""
    runs = {run.name: run for run in all_runs()}
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--only", action="append", metavar="NAME[:METHOD]", help="of these guests")
    parser.add_argument("--brief", action="store_true", help="BRIEF, everywhere")
    parser.add_argument(
        "--have", action="append", default=[], choices=runs, metavar="NAME:METHOD",
        help="was made already",
    )  # fmt: skip
    parser.add_argument("--folder", type=Path, default=ROOT / "artifacts")
    arguments = parser.parse_args()
    for wanted in arguments.only or ():
        if not any(name == wanted or name.startswith(f"{wanted}:") for name in runs):
            parser.error(f"there is no {wanted}; there are: {', '.join(runs)}")
    chosen = [
        replace(run, extent="brief" if arguments.brief else run.extent)
        for name, run in runs.items()
        if name not in arguments.have
        and ({name, run.guest} & {*arguments.only} if arguments.only else run.guest not in BY_NAME)
    ]
    folder: Path = arguments.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    print(f"{len(chosen)} runs; what each prints is in {folder}", flush=True)

    def one(run: Run) -> Outcome:
        outcome = carry_out(run, folder)
        print(outcome.row(), flush=True)
        if not outcome.passed:
            print(outcome.tail, flush=True)
        return outcome

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        # Those that last first: no core waits for one that is left.
        chosen.sort(key=lambda run: [*EXTENTS].index(run.extent))
        outcomes = list(pool.map(one, chosen))
    made = (replace(runs[name], extent="make test") for name in arguments.have)
    outcomes += [Outcome(run, read(folder / f"{run.files}.json")) for run in made]
    outcomes.sort(key=lambda outcome: [*runs].index(outcome.run.name))
    join(outcomes, folder)
    head = ["| guest | kernel | method | tests | outcome | took |", "|---|---|---|---|---|---|"]
    table = "\n".join([*head, *(outcome.row() for outcome in outcomes)])
    (folder / "table.md").write_text(table + "\n", encoding="utf-8")
    print(f"\n{table}")
    return 0 if all(outcome.passed for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
