# SPDX-License-Identifier: GPL-2.0
"""Run the tests in every guest, side by side as the cores allow; ends with a table of outcomes.

Run as a program (``make test-all``)::

    all_guests.py [--only NAME[:WAY] ...] [--core] [--have FILE] [--junit FILE]

Each run is of one guest and one way by which the module gets in between. The
whole suite runs where WHOLE says so, and CORE everywhere else; with --core,
CORE everywhere. A run that was made already is in the table, too, by its JUnit
file, whose suite has the run's name.
"""

import argparse
import os
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from pyharness import guests

ROOT = Path(__file__).parent.parent
WHOLE = ("bookworm-i386", "bullseye-i386", "trixie-amd64")
CORE = (
    "test_intercept.py", "test_full.py", "test_unload.py", "test_restart.py", "test_ways.py",
    "test_32_bit_door.py",
)  # fmt: skip
COUNTED = ("tests", "failures", "errors", "skipped")


@dataclass(frozen=True)
class Run:
    """One run of pytest.

    Attributes:
        guest: the guest's name.
        way: ``table`` or ``handler``.
        whole: all tests, not just CORE.
    """

    guest: str
    way: str
    whole: bool

    @property
    def name(self) -> str:
        """As it is named on the command line."""
        return f"{self.guest}:{self.way}"

    @property
    def tests(self) -> tuple[str, ...]:
        """What is run; nothing stands for all."""
        return () if self.whole else tuple(f"tests/{file}" for file in CORE)


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        run: which.
        counted: so many of each of COUNTED; empty if it did not get to the tests.
        seconds: how long it took.
        tail: the end of what it printed.
    """

    run: Run
    counted: dict[str, int]
    seconds: float
    tail: str

    @property
    def passed(self) -> bool:
        """Whether all tests did, and there were some."""
        return bool(self.counted["tests"]) and sum(self.counted.values()) == self.counted["tests"]

    def row(self) -> str:
        """As a line of the table."""
        spec = guests.find(self.run.guest)
        ran = self.counted["tests"]
        bad = self.counted["failures"] + self.counted["errors"]
        said = (
            f"{ran} passed" if self.passed else f"{bad} of {ran} failed" if ran else "did not run"
        )
        minutes = self.seconds / 60
        return (
            f"| {self.run.guest} | {spec.suite} {spec.architecture} | {self.run.way} "
            f"| {'whole' if self.run.whole else 'core'} | {said} | {minutes:.0f} min |"
        )


def all_runs() -> list[Run]:
    """Every guest by the way that it needs, and by handlers where that is the table."""
    runs = []
    for spec in guests.load().values():
        ways = ("table", "handler") if spec.way == "table" else ("handler",)
        runs += [Run(spec.name, way, spec.name in WHOLE) for way in ways]
    return runs


def carry_out(run: Run, folder: Path) -> Outcome:
    """Run the tests of one guest."""
    xml = folder / f"{run.guest}-{run.way}.xml"
    xml.unlink(missing_ok=True)
    log = folder / f"{run.guest}-{run.way}.log"
    command = [
        sys.executable, "-m", "pytest", "-q", f"--guest={run.guest}", f"--way={run.way}",
        f"--junitxml={xml}", "-o", f"junit_suite_name={run.name}",
        f"--artifacts={folder / f'{run.guest}-{run.way}'}", *run.tests,
    ]  # fmt: skip
    begin = time.monotonic()
    with log.open("w", encoding="utf-8") as out:
        subprocess.run(command, cwd=ROOT, stdout=out, stderr=subprocess.STDOUT, check=False)
    seconds = time.monotonic() - begin
    tail = "\n".join(log.read_text(encoding="utf-8").splitlines()[-15:])
    return Outcome(run, count(suites_of(xml)), seconds, tail)


def suites_of(xml: Path) -> list[ET.Element]:
    """What a JUnit file has; nothing if there is none."""
    return ET.parse(xml).getroot().findall("testsuite") if xml.exists() else []


def count(suites: list[ET.Element]) -> dict[str, int]:
    """So many of each of COUNTED."""
    return {key: sum(int(suite.attrib[key]) for suite in suites) for key in COUNTED}


def made(xml: Path) -> Outcome:
    """A run that was made already: the whole suite."""
    (suite,) = suites_of(xml)
    guest, way = suite.attrib["name"].split(":")
    return Outcome(Run(guest, way, True), count([suite]), float(suite.attrib["time"]), "")


def join(outcomes: list[Outcome], folder: Path, target: Path) -> None:
    """One JUnit file of all; a run that did not get to its tests is an error in it."""
    whole = ET.Element("testsuites", name="all guests")
    for outcome in outcomes:
        if suites := suites_of(folder / f"{outcome.run.guest}-{outcome.run.way}.xml"):
            whole.extend(suites)
            continue
        suite = ET.SubElement(
            whole, "testsuite", name=outcome.run.name,
            tests="1", failures="0", errors="1", skipped="0",
        )  # fmt: skip
        case = ET.SubElement(suite, "testcase", classname=outcome.run.name, name="run")
        ET.SubElement(case, "error", message="the tests did not run").text = outcome.tail
    ET.ElementTree(whole).write(target, encoding="utf-8", xml_declaration=True)


def main() -> int:
    """Carry out the runs, and tell of each as it ends."""
    runs = {run.name: run for run in all_runs()}
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--only", action="append", metavar="NAME[:WAY]", help="of these guests")
    parser.add_argument("--core", action="store_true", help="CORE alone, everywhere")
    parser.add_argument("--have", type=Path, metavar="FILE", help="a run that was made already")
    parser.add_argument("--junit", type=Path, default=Path("artifacts/all-guests.xml"))
    arguments = parser.parse_args()
    for wanted in arguments.only or ():
        if not any(name == wanted or name.startswith(f"{wanted}:") for name in runs):
            parser.error(f"there is no {wanted}; there are: {', '.join(runs)}")
    chosen = [
        replace(run, whole=run.whole and not arguments.core)
        for name, run in runs.items()
        if not arguments.only or {name, run.guest} & {*arguments.only}
    ]
    folder = arguments.junit.parent
    folder.mkdir(parents=True, exist_ok=True)
    print(f"{len(chosen)} runs; what each prints is in {folder}", flush=True)

    def one(run: Run) -> Outcome:
        outcome = carry_out(run, folder)
        print(outcome.row(), flush=True)
        if not outcome.passed:
            print(outcome.tail, flush=True)
        return outcome

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        outcomes = list(pool.map(one, chosen))
    join(outcomes, folder, arguments.junit)
    if arguments.have:
        outcomes.insert(0, made(arguments.have))
    head = ["| guest | Debian | way | tests | outcome | took |", "|---|---|---|---|---|---|"]
    table = "\n".join([*head, *(outcome.row() for outcome in outcomes)])
    (folder / "table.md").write_text(table + "\n", encoding="utf-8")
    print(f"\n{table}")
    return 0 if all(outcome.passed for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
