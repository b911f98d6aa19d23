# SPDX-License-Identifier: GPL-2.0
"""The README's two commands, on a machine that nobody prepared."""

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fresh_machine import FreshMachine

ROOT = Path(__file__).parent.parent.parent
# The tests that need no guest, and one that needs one.
SOME_TESTS = (
    "tests/unit/test_facts.py tests/unit/test_cache.py tests/unit/test_addresses.py"
    " tests/unit/test_qemu_monitor.py tests/harness/test_elf.py"
    " tests/contract/test_rules.py::test_rule[log-line]"
)
# SIGKILL amid a user's image making: what it started ends, and what it has made goes.
KILLED_IMAGE_MAKING = """cd checkout
PYHARNESS_CACHE=$HOME/other .venv/bin/pyharness up & up=$!
until test -d /tmp/pyharness-*/mmdebstrap.*/usr; do kill -0 $up || exit 1; done
kill -KILL $up
while cat /proc/[0-9]*/comm 2>/dev/null | grep -q mmdebstrap || ls -d /tmp/pyharness-*; do :; done
"""
# Where nothing moves for more than that part of the time that it all takes, a person thinks that it
# hangs. A ratio, as the host may be busy; pip installs its packages without a word.
SILENCE = 1 / 8


def two_commands() -> list[str]:
    """The README's, as they stand there."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^## Two commands\n.*?^```sh\n(.*?)^```", text, re.M | re.S)
    return [line.split("#")[0].strip() for line in block.splitlines()]


@pytest.fixture
def machine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[FreshMachine]:
    suite, user = request.param
    yield FreshMachine.make(tmp_path / "machine", suite, user)
    shutil.rmtree(tmp_path / "machine", ignore_errors=True)


@pytest.mark.test_limit(3600)
@pytest.mark.parametrize(
    "machine",
    [(suite, user) for suite in ("bookworm", "trixie") for user in ("root", "student")],
    ids="-".join,
    indirect=True,
)
def test_the_two_commands(
    machine: FreshMachine, record_property: Callable[[str, object], None]
) -> None:
    demo, test = two_commands()
    assert (demo, test) == ("make demo", "make test")
    url = machine.give(ROOT)
    cloned = machine.type(f"git clone --quiet {url} checkout", seconds=60)
    assert cloned.status == 0, cloned.text

    shown = machine.type(f"cd checkout && {demo}", seconds=1800)
    assert shown.status == 0, shown.text[-4000:]
    assert "all 11 steps passed" in shown.text
    record_property("demo: seconds", round(shown.seconds))
    record_property("demo: longest silence (s)", round(shown.silence))
    assert shown.silence < SILENCE * shown.seconds, shown.before

    tested = machine.type(f"cd checkout && {test} TESTS='{SOME_TESTS}'", seconds=1800)
    assert tested.status == 0, tested.text[-4000:]
    assert re.search(r"\b\d+ passed in ", tested.text)
    assert (machine.home / ".cache" / "pyharness" / "images").is_dir()

    if machine.user != "root":
        killed = machine.type(KILLED_IMAGE_MAKING, seconds=300)
        assert killed.status == 0, killed.text
        refused = machine.type(
            "cd checkout && sudo mv /etc/subuid /etc/subuid.away"
            " && PYHARNESS_CACHE=$HOME/other .venv/bin/pyharness up",
            seconds=60,
        )
        assert refused.status == 3, refused.text
        assert "sudo usermod --add-subuids" in refused.text


@pytest.mark.test_limit(1800)
@pytest.mark.parametrize("machine", [("bookworm", "student")], ids="-".join, indirect=True)
def test_a_check_needs_python_alone(
    machine: FreshMachine, record_property: Callable[[str, object], None]
) -> None:
    """Besides git and make: no QEMU, no compiler, no rights."""
    url = machine.give(ROOT)
    install = "sudo apt-get -qq update && sudo apt-get -qq install --no-install-recommends"
    done = machine.type(f"{install} python3-venv && sudo rm /etc/sudoers.d/*", seconds=600)
    assert done.status == 0, done.text
    done = machine.type(
        f"git clone --quiet {url} checkout && cd checkout && make check", seconds=900
    )
    assert done.status == 0, done.text[-4000:]
    assert re.search(r"\b\d+ passed in ", done.text)
    assert machine.type("command -v qemu-system-i386 gcc ssh", seconds=60).status
    again = machine.type("cd checkout && make check", seconds=900)
    assert again.status == 0, again.text[-4000:]
    record_property("make check again: seconds", round(again.seconds))
