# SPDX-License-Identifier: GPL-2.0
"""A state is saved only of a kernel that booted without trouble."""

import itertools
from pathlib import Path

import pytest

from pyharness import Guest, GuestError
from pyharness.host import cache
from pyharness.host.progress import NoProgress
from pyharness.linux import trouble
from pyharness.machine import accelerator, guest_specs, saved_states
from pyharness.transport.ssh import Ssh

HUNG = "INFO: task (udev-worker):110 blocked for more than 10 seconds."
WARNING = "WARNING: CPU: {} PID: 0 at arch/x86/kernel/cpu/amd.c:123 init_amd+0x1/0x2"
LATER_WARNING = "WARNING: CPU: 0 PID: 0 at arch/x86/kernel/cpu/amd.c:9 f+0x1/0x2, CPU#{}: swapper/0"
PANIC = "Kernel panic - not syncing: VFS: Unable to mount root fs"


def reports(*lines: str) -> list[trouble.Report]:
    return trouble.reports("\n\n".join(f"[ {10 * n}.0] {line}" for n, line in enumerate(lines, 1)))


@pytest.mark.parametrize("line", [HUNG, WARNING.format(0), PANIC])
def test_any_report_of_a_first_boot_is_trouble(line: str) -> None:
    assert [report.title for report in saved_states.unexpected_reports(reports(line), [])] == [line]


@pytest.mark.parametrize("warning", [WARNING, LATER_WARNING])
def test_a_warning_that_comes_at_each_boot_is_usual(warning: str) -> None:
    first, second = reports(warning.format(0)), reports(warning.format(1))
    assert first
    assert saved_states.unexpected_reports(second, first) == []
    assert saved_states.unexpected_reports(reports(warning.format(0), HUNG), first) == reports(HUNG)


@pytest.mark.parametrize("line", [HUNG, PANIC])
def test_anything_else_is_trouble_each_time(line: str) -> None:
    assert saved_states.unexpected_reports(reports(line), reports(line)) == reports(line)


def test_no_report_is_no_trouble() -> None:
    assert saved_states.unexpected_reports([], reports(HUNG)) == []


def test_the_kernel_warns_of_nothing_when_it_boots(guest: Guest) -> None:
    """On this host's QEMU: its CPU, for one, is one that the kernel knows as good."""
    console = guest.qemu.saved_state.folder / "console.log"
    assert trouble.reports(console.read_text(encoding="utf-8", errors="replace")) == []


def test_tasks_that_hang_are_reported_once_the_guest_has_booted(guest: Guest) -> None:
    """On a busy host, a task of a boot may wait for longer than that."""
    assert guest.agent.read("/proc/sys/kernel/hung_task_timeout_secs") == "10\n"
    times = guest.run(
        "systemctl show -P ActiveEnterTimestampMonotonic multi-user.target;"
        " systemctl show -P ExecMainStartTimestampMonotonic hung-task"
    )
    booted, begun = map(int, times.check().stdout.split())
    assert 0 < booted < begun


class Listener(NoProgress):
    """Keeps the messages."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def message(self, text: str) -> None:
        self.heard.append(text)


@pytest.fixture
def cache_folder(guest: Guest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache where nothing is booted yet."""
    for name in ("images", "ssh"):
        (tmp_path / name).symlink_to(cache.folder() / name)
    monkeypatch.setenv("PYHARNESS_CACHE", str(tmp_path))
    monkeypatch.setenv(accelerator.ENV_VAR, guest.qemu.saved_state.accel.name)
    return tmp_path


@pytest.mark.alone
@pytest.mark.test_limit(600)
def test_a_boot_in_trouble_is_repeated_and_never_saved(
    guest: Guest, cache_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts, boots = saved_states.kernel_facts, itertools.count(1)

    def facts_of_a_busy_host(ssh: Ssh, known: str, *, seconds: float) -> saved_states.KernelFacts:
        """The kernel reports a hung task in the first two boots."""
        if next(boots) <= 2:
            ssh.run(f"echo '<3>{HUNG}' > /dev/kmsg", seconds=seconds).check()
        return facts(ssh, known, seconds=seconds)

    monkeypatch.setattr(saved_states, "kernel_facts", facts_of_a_busy_host)
    spec, listener = guest_specs.find(guest.facts.name), Listener()
    with monkeypatch.context() as once:
        once.setattr(saved_states, "_BOOTS", 1)
        with pytest.raises(GuestError, match=r"trouble each time that it boots; .*:\nINFO: ta"):
            saved_states.ensure(spec)
    assert list((cache_folder / "saved-states").iterdir()) == []
    saved_state = saved_states.ensure(spec, progress=listener)
    (said,) = [line for line in listener.heard if "again" in line]
    assert said == f"{spec.name} is booted again, as its kernel reported trouble: {HUNG}"
    assert "blocked for more" not in (saved_state.folder / "console.log").read_text(
        errors="replace"
    )
