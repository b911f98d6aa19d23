# SPDX-License-Identifier: GPL-2.0
"""What the README shows is what happens."""

import re
import subprocess
import sys
from pathlib import Path

import all_guests
import pytest

from pyharness import Guest
from pyharness.cli import cli
from pyharness.machine import guest_specs

pytestmark = pytest.mark.smoke

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


def block(kind: str) -> str:
    """The fenced block of that kind, of which there is one."""
    (text,) = re.findall(rf"^```{kind}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    return str(text)


@pytest.mark.architecture("i386")  # whose numbers it shows
def test_by_hand_in_the_guest(bare_guest: Guest, by_hand: str) -> None:
    done = bare_guest.run("bash -e", stdin=block("sh guest").encode(), seconds=60).check()
    lines = [line for line in done.stdout.splitlines() if not line.startswith(("make", "  "))]
    loaded, intercepted, started, status, everybody, stop, release, by_c, by_python = lines
    assert "interceptor: loaded" in loaded
    assert [intercepted, started, everybody, stop, release] == ["0"] * 5
    assert status == "39 listed"  # the program that was monitored has ended
    for line in (by_c, by_python):
        assert re.search(r"\[[0-9a-f]+\]27\((?:[0-9a-f]+,){5}[0-9a-f]+\)$", line)
    assert not bare_guest.is_loaded("interceptor")
    bare_guest.run(f"rm {by_hand}/try {by_hand}/try.c").check()


@pytest.mark.alone
def test_from_python(guest: Guest) -> None:
    done = subprocess.run(
        [sys.executable, "-c", block("python")],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    first, second, third, fourth, *rest = done.stdout.splitlines()
    assert (first, second, fourth) == ("0", "-EEXIST", "-EPERM")
    assert re.fullmatch(r"\[\d+\] mkdir\((0x[0-9a-f]+, ){5}0x[0-9a-f]+\)", third)
    assert rest[-1] == guest.saved_state.image.release


def test_the_readme_has_every_command() -> None:
    section = README.split("## The command line")[1].split("##")[0]
    for name in cli.commands:
        assert re.search(rf"`{name}\b", section), name


def test_the_readme_has_every_guest() -> None:
    guests = re.findall(
        r"^\| `([\w-]+)`[^|]* \|[^|]*\| (the table|its handler) \|", README, re.MULTILINE
    )
    dispatch = {"the table": "table", "its handler": "handler"}
    assert {name: dispatch[by] for name, by in guests} == {
        s.name: s.dispatch for s in guest_specs.load().values()
    }


def test_the_table_of_all_guests_has_every_run_and_all_passed() -> None:
    row = r"^\| `([\w-]+)` \| \d[\w.+-]* \| (\w+) \| (\w+) \| \d+ passed \| \d+ min \|$"
    runs = [
        (run.guest, run.method, run.extent)
        for run in all_guests.all_runs()
        if run.guest not in all_guests.BY_NAME
    ]
    assert re.findall(row, README, re.MULTILINE) == runs


def test_every_claim_names_a_test_that_there_is() -> None:
    here = Path(__file__).parents[1]
    claims = (here.parent / "docs" / "claims.md").read_text(encoding="utf-8")
    named = re.findall(r"`([a-z]+/test_\w+\.py)(?:::(\w+))?`", claims)
    assert len(named) > 30
    for file, test in named:
        text = (here / file).read_text(encoding="utf-8")
        assert f"def {test or 'test_'}" in text, (file, test)
