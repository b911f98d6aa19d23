# SPDX-License-Identifier: GPL-2.0
"""What test_recovery.py runs: tests in whose guest QEMU emulates an instruction wrongly."""

import os
from pathlib import Path

import pytest

from pyharness import Guest

LOG = Path(__file__).parents[1] / "logs" / "double-fault-of-emulation.log"
MARK = Path(os.environ.get("WRONG_EMULATION", "none"))


def crash(guest: Guest) -> None:
    """Have the kernel log the report of a crash that QEMU has caused."""
    report = "".join(f"<0>{line}\n" for line in LOG.read_text(encoding="ascii").splitlines())
    guest.put(report.encode(), "/root/report")
    guest.run('while IFS= read -r line; do echo "$line" > /dev/kmsg; done < /root/report &')
    guest.wait("the crash is noticed", guest.health.check)


def test_once(guest: Guest) -> None:
    if not MARK.exists():
        MARK.touch()
        crash(guest)


def test_after_it(guest: Guest) -> None:
    guest.run("true").check()


def test_each_time(guest: Guest) -> None:
    crash(guest)


@pytest.fixture
def crashing(guest: Guest) -> None:
    """Crash in the setup of a test."""
    if MARK.exists():
        MARK.unlink()
        crash(guest)


def test_once_in_setup(crashing: None) -> None:
    pass
