# SPDX-License-Identifier: GPL-2.0
"""Break the module in one place after the other, and see the tests notice each; ends with a table.

Run as a program (``make mutants``)::

    mutants.py [NAME ...]

Each mutant is a copy of the checkout in which the module has one patch of
tests/mutants applied. The tests that the patch names are run in it, and have to
fail. A mutant that passes them has survived: a test is missing.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from broken import Change, make, patches

ROOT = Path(__file__).parents[2]
FAILED = 1  # pytest's exit status: the tests ran, and some failed


@dataclass(frozen=True)
class Mutant:
    """A broken module.

    Attributes:
        test: what notices it, an argument of pytest (``Test:`` in the patch).
        changes: what is changed.
        guest: where (``Guest:``).
        select: which of these tests, as an expression for pytest's ``-k`` (``Select:``).
    """

    test: str
    changes: tuple[Change, ...]
    guest: str
    select: str


MUTANTS = {
    subject: Mutant(
        patch.header["Test"],
        patch.changes,
        patch.header.get("Guest", "bookworm-i386"),
        patch.header.get("Select", ""),
    )
    for subject, patch in patches("mutants").items()
}


def copy(folder: Path) -> None:
    """Copy the checkout: what git has, as it is now, and what it would add."""
    line = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    said = subprocess.run(line, cwd=ROOT, check=True, capture_output=True, text=True)
    for name in said.stdout.split("\0")[:-1]:
        if (ROOT / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)


def outcome(one: Mutant) -> str:
    """Run the tests on a mutant.

    Returns:
        "caught", "SURVIVED", or the end of what pytest printed if it did not get that far,
        as where the mutant is no C.
    """
    with tempfile.TemporaryDirectory(prefix="mutant-") as name:
        folder = Path(name)
        copy(folder)
        for each in one.changes:
            make(folder / "module", each)
        line = [
            sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:xdist", f"--guest={one.guest}",
            f"tests/{one.test}", "-k", one.select,
        ]  # fmt: skip
        said = subprocess.run(line, cwd=folder, capture_output=True, text=True, check=False)
    if said.returncode == FAILED and "does not build:" not in said.stdout:
        return "caught"
    return "SURVIVED" if said.returncode == 0 else said.stdout[-1000:] + said.stderr[-1000:]


def main() -> int:
    """Run all, or those that are named."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("names", nargs="*", metavar="NAME", help="of these mutants")
    names = parser.parse_args().names or [*MUTANTS]
    for name in names:
        if name not in MUTANTS:
            parser.error(f"there is no {name!r}; there are: {', '.join(MUTANTS)}")

    def one(name: str) -> bool:
        mutated = MUTANTS[name]
        said = outcome(mutated)
        print(f"| {name} | `{mutated.guest}` | `{mutated.test}` | {said} |", flush=True)
        return said == "caught"

    print("| mutant | guest | test | outcome |\n|---|---|---|---|", flush=True)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return 0 if all([*pool.map(one, names)]) else 1


if __name__ == "__main__":
    sys.exit(main())
