# SPDX-License-Identifier: GPL-2.0
"""The demo judges what came after its start."""

import pytest

import pyharness
from pyharness import CheckFailed, Guest
from pyharness.interceptor import MODULE, demo

pytestmark = [pytest.mark.alone, pytest.mark.smoke]

REPORT = "WARNING: CPU: 0 PID: 1 at made_up.c:1 made_up+0x1/0x2"


def complain(guest: Guest) -> None:
    guest.run(f"echo '<4>{REPORT}' > /dev/kmsg").check()


@pytest.mark.usefixtures("guest")  # sees to image and saved state
def test_the_demo_ignores_earlier_reports(guest: Guest) -> None:
    with pyharness.boot(guest.facts.name) as own:
        complain(own)
        stage = demo._Stage(own, MODULE)
        assert demo._healthy(stage) == "the kernel reported no trouble"
        complain(own)
        with pytest.raises(CheckFailed, match=r"it reported \['WARNING: CPU: 0"):
            demo._healthy(stage)
