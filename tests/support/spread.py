# SPDX-License-Identifier: GPL-2.0
"""Runs the tests of each guest on the workers of a Dask scheduler, and prints one table.

    python tests/support/spread.py tcp://HOST:PORT [--guest NAME]... [ARGUMENT OF PYTEST]...

A worker gets the checkout from here, and needs this project's requirements for its tests
(``pip install -e DIR[dev]``) and what ``pyharness doctor`` asks for. The tests of a guest whose
worker is lost are run again by another one. What each run printed, and its results, are written to
artifacts/spread.
"""

import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import matrix
from distributed import Client, as_completed

from pyharness.machine import guest_specs

ROOT = Path(__file__).parents[2]
TESTS = ("tests/contract", "tests/harness", "tests/soak")


@dataclass(frozen=True)
class Run:
    """What came of the tests of one guest.

    Attributes:
        guest: the guest's name.
        status: pytest's exit status.
        printed: what pytest printed.
        results: what it wrote by ``--results``; empty if it did not get that far.
    """

    guest: str
    status: int
    printed: str
    results: str


def checkout() -> bytes:
    """The files of this checkout, changed ones as they are, as an archive."""
    line = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as archive:
        for name in filter(None, listed.split("\0")):
            if os.path.lexists(ROOT / name):
                archive.add(ROOT / name, arcname=name, recursive=False)
    return made.getvalue()


def run(guest: str, archive: bytes, words: tuple[str, ...]) -> Run:
    """Run the tests of a guest; this is what a worker does."""
    with tempfile.TemporaryDirectory(prefix="spread-") as folder:
        with tarfile.open(fileobj=io.BytesIO(archive)) as files:
            files.extraction_filter = getattr(tarfile, "fully_trusted_filter", None)
            files.extractall(folder)
        line = [
            sys.executable, "-m", "pytest", "-p", "no:cacheprovider", f"--guest={guest}",
            "--matrix=full", "--results=results.json", *words,
        ]  # fmt: skip
        environment = os.environ | {"PYTHONPATH": folder, "PYTHONSAFEPATH": "1"}
        done = subprocess.run(
            line,
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )
        results = Path(folder, "results.json")
        written = results.read_text(encoding="utf-8") if results.exists() else ""
        return Run(guest, done.returncode, done.stdout, written)


def phases(results: dict[str, Any], guest: str) -> list[matrix.Phase]:
    """The results of a run over one guest, as the table takes them."""
    dispatch = guest_specs.find(guest).dispatch
    return [
        matrix.Phase(
            test["id"],
            guest,
            str(test["properties"].get("method", dispatch)),
            "failed" if test["outcome"] in ("failed", "error") else test["outcome"],
            test["seconds"],
        )
        for test in results["tests"]
    ]


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("scheduler")
@click.option("--guest", "guests", multiple=True, metavar="NAME", help="default: all guests")
@click.argument("words", nargs=-1, type=click.UNPROCESSED)
def main(scheduler: str, guests: tuple[str, ...], words: tuple[str, ...]) -> None:
    """Run the tests of each guest on the workers of a Dask scheduler, and print one table."""
    guests = guests or tuple(guest_specs.load())
    if not any(Path(word.partition("::")[0]).exists() for word in words):
        words = (*TESTS, *words)
    folder = ROOT / "artifacts" / "spread"
    folder.mkdir(parents=True, exist_ok=True)
    found: list[matrix.Phase] = []
    kernels: dict[str, str] = {}
    failed = False
    with Client(scheduler, timeout=30, set_as_default=False) as client:  # type: ignore[no-untyped-call]
        archive = checkout()
        names = {
            client.submit(run, guest, archive, words, pure=False, key=f"tests-{guest}"): guest
            for guest in guests
        }
        for future in as_completed(names, loop=client.loop):  # type: ignore[no-untyped-call]
            try:
                done: Run = future.result()
            except Exception as error:  # its workers were lost, again and again
                click.echo(f"{names[future]}: not tested: {error}")
                failed = True
                continue
            (folder / f"{done.guest}.log").write_text(done.printed, encoding="utf-8")
            (folder / f"{done.guest}.json").write_text(done.results, encoding="utf-8")
            # 5: no test is for this guest.
            failed |= done.status not in (0, 5)
            click.echo(f"{done.guest}: exit status {done.status}, {folder / done.guest}.log")
            if done.results:
                results = json.loads(done.results)
                found += phases(results, done.guest)
                kernels |= {known["name"]: known["kernel"] or "?" for known in results["guests"]}
    click.echo(matrix.table(found, kernels, "full"))
    sys.exit(int(failed))


if __name__ == "__main__":
    main()
