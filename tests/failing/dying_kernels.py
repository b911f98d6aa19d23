# SPDX-License-Identifier: GPL-2.0
"""What test_recovery.py runs: tests under which the kernel complains, dies, or is taken away."""

import pytest

from pyharness import Guest


def test_skip(guest: Guest) -> None:
    guest.run("touch /root/skipped").check()
    pytest.skip("on purpose")


def test_after_a_skip(guest: Guest) -> None:
    """A test that is skipped does not cost its guest."""
    guest.run("test -e /root/skipped").check()


def test_complaint(guest: Guest) -> None:
    guest.run("echo '<4>WARNING: CPU: 0 PID: 1 at made_up.c:1 made_up+0x1/0x2' > /dev/kmsg").check()


def test_after_a_complaint(guest: Guest) -> None:
    guest.run("true").check()


def test_report_with_a_pause(guest: Guest) -> None:
    """As when another CPU, which takes its time, is asked for its stack."""
    begin = "for line in 'Oops: made up' 'CPU: 0 PID: 1'; do echo \"<0>$line\"; done"
    end = "echo '<0>---[ end trace 0 ]---'"
    guest.run(f"{{ {begin} > /dev/kmsg; sleep 1; {end} > /dev/kmsg; }} > /dev/null 2>&1 &")
    guest.wait("the crash is noticed", guest.health.check)


def test_after_a_report(guest: Guest) -> None:
    guest.run("true").check()


def test_panic(guest: Guest) -> None:
    guest.run("echo c > /proc/sysrq-trigger")


def test_panic_under_an_actor(guest: Guest) -> None:
    trigger = guest.root.syscall("open", "/proc/sysrq-trigger", 1).value
    guest.root.syscall("write", trigger, "c", 1)


def test_after_a_panic(guest: Guest) -> None:
    assert guest.run("cat /proc/uptime").check().stdout


def test_qemu_killed(guest: Guest) -> None:
    guest.qemu.machine.end()


def test_after_qemu_was_killed(guest: Guest) -> None:
    guest.run("true").check()
