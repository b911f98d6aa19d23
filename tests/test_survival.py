# SPDX-License-Identifier: GPL-2.0
"""A kernel that dies, or complains, fails the test that was running, and no other."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = """
import pytest
from pyharness import CheckFailed, Guest, GuestCrashed


def test_complaint(guest: Guest) -> None:
    guest.run("echo '<4>WARNING: CPU: 0 PID: 1 at made_up.c:1 made_up+0x1/0x2' > /dev/kmsg").check()


def test_after_a_complaint(guest: Guest) -> None:
    guest.run("true").check()


def test_panic(guest: Guest) -> None:
    guest.run("echo c > /proc/sysrq-trigger")


def test_panic_under_an_actor(guest: Guest) -> None:
    trigger = guest.root.syscall("open", "/proc/sysrq-trigger", 1).value
    guest.root.syscall("write", trigger, "c", 1)


def test_after_a_panic(guest: Guest) -> None:
    assert guest.run("cat /proc/uptime").check().stdout


def test_qemu_killed(guest: Guest) -> None:
    guest.machine.end()


def test_after_qemu_was_killed(guest: Guest) -> None:
    guest.run("true").check()
"""


@pytest.mark.usefixtures("guest")  # sees to image and saved state
def test_a_dying_kernel_takes_one_test_with_it(tmp_path: Path) -> None:
    shutil.copy(Path(__file__).with_name("conftest.py"), tmp_path)
    (tmp_path / "test_dying.py").write_text(TESTS, encoding="utf-8")
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-p",
            "no:cacheprovider",
            "-p",
            "no:randomly",
            "-rA",
            str(tmp_path),
        ],
        cwd=tmp_path,
        env=os.environ | {"PYHARNESS_RUN": str(tmp_path / "run")},
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    outcome: dict[str, set[str]] = {}
    for kind, name in re.findall(r"^(PASSED|FAILED|ERROR) \S+::(\w+)", done.stdout, re.MULTILINE):
        outcome.setdefault(name, set()).add(kind)
    assert outcome == {
        "test_complaint": {"FAILED"},
        "test_after_a_complaint": {"PASSED"},
        "test_panic": {"FAILED"},
        "test_panic_under_an_actor": {"FAILED"},
        "test_after_a_panic": {"PASSED"},
        "test_qemu_killed": {"FAILED"},
        "test_after_qemu_was_killed": {"PASSED"},
    }, done.stdout
    assert "WARNING: CPU: 0 PID: 1 at made_up.c:1" in done.stdout
    assert "Kernel panic - not syncing: sysrq triggered crash" in done.stdout
    assert "bookworm-i386, kernel 6.1" in done.stdout
    assert list((tmp_path / "run").iterdir()) == []
