# SPDX-License-Identifier: GPL-2.0
"""A kernel that dies or hangs fails the test at fault, with its own report, and no other."""

import os
import re
import signal
import subprocess
import threading
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from broken import BROKEN, lines_of, write
from suites import failure, run_tests

import pyharness
from pyharness import Guest, GuestError, GuestTimeout
from pyharness.guest import health
from pyharness.host import cache
from pyharness.linux import kernel_release
from pyharness.machine import accelerator, guest_specs, lifecycle, qemu_process, saved_states

pytestmark = pytest.mark.alone

SECONDS = 30
CASES = Path(__file__).parents[1] / "failing"
BROKEN_MODULES = CASES / "broken_modules.py"


@dataclass(frozen=True)
class Expected:
    """How a broken module shows.

    Attributes:
        said: what the failure says.
        change: which change of the module is the one that the kernel stumbled
            on, None where its report has no place in the module.
        asked: the last that the guest was asked to do.
        since: what kernels say besides, from a release on.
        kernel: which ones notice it at all.
    """

    said: str
    change: int | None = 0
    asked: str = ""
    since: tuple[str, str] = (">=0", "")
    kernel: str = ">=0"


# A command that goes on forever, and where.
RUNNING = r"actor \d+ does not answer; its state is R, .*\n(.*\n)*CPU \d IP: .* at interceptor\.c:"
EXPECTED = {
    "null dereference in a command": Expected(
        r"BUG: kernel NULL pointer dereference, address: 0+8\b",
        asked=r"START sched_rr_get_interval \(\d+\), pid \d+: no answer",
    ),
    "null dereference in the interceptor": Expected(
        r"BUG: kernel NULL pointer dereference, address: 0+10\b",
        asked=r"sched_rr_get_interval\(\d+, 0\): no answer",
    ),
    "null dereference at unload": Expected(
        r"BUG: kernel NULL pointer dereference, address: 0+18\b",
        asked="shell: rmmod interceptor: (no answer|exit status -1)",
    ),
    "lock never released": Expected(
        "INFO: task python3:.* blocked for more than 1",
        change=None,
        asked=r"RELEASE sched_rr_get_interval \(\d+\), pid 0: no answer",
    ),
    # Whether the agent can still be heard depends on which CPU it needs, and whether the kernel
    # notices, on which CPU counts its jiffies.
    "loop with interrupts off": Expected(
        r"rcu: INFO: rcu_\w+ detected stalls|hangs: no sign of life|" + RUNNING,
        asked=r"START sched_rr_get_interval \(\d+\), pid \d+: no answer",
    ),
    "loop with interrupts off on all CPUs": Expected(
        r"hangs: no sign of life.*\nCPU 0 IP: .*, forever\(\)\nCPU 1 IP: .*, forever\(\)\n",
        asked=r"START sched_rr_get_interval \(\d+\), pid \d+: no answer",
        since=(">=5.18", "NMI backtrace for cpu 1"),  # commit 8d470a45d1a6
    ),
    # The kernel sees nothing wrong in it.
    "loop that reschedules": Expected(RUNNING),
    # Debian's kernels have counted spinlocks since PREEMPT_DYNAMIC (commit b965f1ddb47d).
    "sleep under a spinlock": Expected(
        "BUG: scheduling while atomic: python3", change=2, kernel=">=5.12"
    ),
    "return to freed text": Expected(
        "BUG: unable to handle page fault",
        change=1,
        asked=r"sched_rr_get_interval\(\d+, 0\): no answer",
    ),
    "stack overflow": Expected(
        # i386 has no guard page: what is below the stack is overwritten, and with it may go
        # what the kernel needs to report anything.
        r"BUG: |kernel BUG at |PANIC: |Kernel panic|hangs: no sign of life",
        change=None,
        asked=r"sched_rr_get_interval\(\d+, 0\): no answer",
    ),
    "double fault": Expected("double fault", asked=r"sched_rr_get_interval\(\d+, 0\): no answer"),
    "wrong value": Expected("intercept sched_rr_get_interval: 1, not 0", change=None),
    "memory leak": Expected("assert not {'kmalloc-512'", change=None),
}


def words(config: pytest.Config) -> list[str]:
    """The options of this run that its tests' own runs need, too."""
    return [f"--method={method}" for method in config.getoption("method") or ()]


@pytest.mark.variants
@pytest.mark.test_limit(300)
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.kernel(expected.kernel))
        for name, expected in EXPECTED.items()
    ],
)
def test_a_broken_module_fails_its_test_alone(
    guest: Guest, tmp_path: Path, pytestconfig: pytest.Config, name: str
) -> None:
    broken = BROKEN[name]
    folder = write(tmp_path / "module", *broken)
    guest.build(folder)  # so that the time below is not a compiler's
    suite = run_tests(
        tmp_path,
        *words(pytestconfig),
        f"{BROKEN_MODULES}::test_broken[{name}]",
        f"{BROKEN_MODULES}::test_after",
    )
    said, after = map(failure, suite)
    assert said
    assert not after
    expected = EXPECTED[name]
    assert re.search(expected.said, said), said
    timed_out = re.search(RUNNING, said)
    # A timeout is raised where the test has asked.
    assert timed_out or re.search(expected.asked, said), said
    release, besides = expected.since
    if kernel_release.matches(guest.facts.release, [release]):
        assert besides in said
    if expected.change is not None:
        # The statement, and where it returns to.
        file, lines = lines_of(folder, broken[expected.change])
        message = [int(found) for found in re.findall(rf" at {file}:(\d+)", said)]
        assert any(found in lines for found in message), said
    spent = suite[0].find("properties/property[@name='seconds']")
    assert spent is not None
    assert timed_out or float(spent.attrib["value"]) < SECONDS
    consoles = [path.name for path in tmp_path.glob("*.console.log")]
    assert len(consoles) == 2


DYING = {
    "test_skip": "",
    "test_after_a_skip": "",
    "test_complaint": "WARNING: CPU: 0 PID: 1 at made_up.c:1",
    "test_after_a_complaint": "",
    "test_report_with_a_pause": r"is in trouble\nOops: made up\nCPU: 0 PID: 1\n---\[ end trace 0 ",
    "test_after_a_report": "",
    "test_panic": "panicked\nKernel panic - not syncing: sysrq triggered crash",
    "test_panic_under_an_actor": "Kernel panic - not syncing: sysrq triggered crash",
    "test_after_a_panic": "",
    "test_qemu_killed": r"[\w-]+, kernel \d.* does not run any more",
    "test_after_qemu_was_killed": "",
}


@pytest.mark.usefixtures("guest")  # sees to image and saved state
def test_a_dying_kernel_fails_its_test_alone(tmp_path: Path, pytestconfig: pytest.Config) -> None:
    outcome = {
        case.attrib["name"]: failure(case)
        for case in run_tests(tmp_path, *words(pytestconfig), str(CASES / "dying_kernels.py"))
    }
    assert outcome.keys() == DYING.keys()
    for name, wanted in DYING.items():
        assert bool(outcome[name]) == bool(wanted), name
        assert re.search(wanted, outcome[name]), outcome[name]


# The tests of wrong_emulation.py whose guests QEMU emulates wrongly, and whether each time.
WRONG = {"test_once": False, "test_once_in_setup": False, "test_each_time": True}


@pytest.mark.usefixtures("guest")
def test_a_test_is_repeated_if_qemu_is_at_fault(tmp_path: Path) -> None:
    """At the call and in the setup; once, and no test whose guest crashed otherwise."""
    cases = run_tests(
        tmp_path,
        str(CASES / "wrong_emulation.py"),
        WRONG_EMULATION=str(tmp_path / "mark"),
        PYHARNESS_ACCEL="tcg",
    )
    for case in cases:
        name = case.attrib["name"]
        said = {item.attrib["name"]: item.attrib["value"] for item in case.iter("property")}
        assert ("EFLAGS c3227242" in said.get("repeated", "")) == (name in WRONG), name
        assert bool(failure(case)) == WRONG.get(name, False), name
        assert not failure(case) or "no CPU can have these flags" in failure(case)
    assert len(cases) == len(WRONG) + 1


def is_shell(guest: Guest, pid: int) -> bool:
    """Whether a process of the guest runs /bin/sh."""
    return guest.agent.read(f"/proc/{pid}/cmdline").startswith("/bin/sh")


def test_a_host_that_stops_is_no_hang(guest: Guest, monkeypatch: pytest.MonkeyPatch) -> None:
    """QEMU that does not run for longer than any time limit does not use it up.

    The guest's clock leaps meanwhile. The kernel takes the leap for the time of the real-time
    tasks that ran just then, and keeps all of them from the CPU for as long; the agent is none.
    """
    monkeypatch.setattr(health, "_SILENCE_SECONDS", 4.0)
    actor = guest.actor()
    busy = [guest.actor() for _ in range(guest.facts.cpus)]
    for task in busy:
        task.execute("/usr/bin/chrt", "--rr", "1", "/bin/sh", "-c", "while :; do :; done")
        guest.wait("the loop", partial(is_shell, guest, task.pid))
    pid = guest.qemu.machine.pid
    with subprocess.Popen(["sh", "-c", f"sleep 14; kill -CONT {pid}"]):
        os.kill(pid, signal.SIGSTOP)
        begin = guest.clock()
        assert actor.syscall("getpid").value == actor.pid
        assert guest.clock() - begin < 4
    for task in busy:
        task.kill(signal.SIGKILL)
    assert guest.run("true").status == 0


def test_a_busy_guest_is_no_hang(guest: Guest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Signs of life come through, however many others want the CPUs."""
    monkeypatch.setattr(health, "_SILENCE_SECONDS", 5.0)
    done = guest.run("nice -n -20 stress-ng --cpu 40 --timeout 6 --quiet", seconds=60)
    assert done.status == 0
    assert guest.agent.silence() < 3


def test_an_actor_that_is_stuck_says_where(guest: Guest, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is a time limit that is over, in the guest's own time; the guest lives."""
    actor = guest.actor()
    monkeypatch.setattr(guest.agent, "seconds", 1.0)
    with pytest.raises(pyharness.GuestTimeout, match=r"its state is S(.|\n)*hrtimer_nanosleep"):
        actor.syscall("nanosleep", "\x1e\0\0\0\0\0\0\0", 0)
    assert guest.run("true").status == 0


def test_an_answer_that_comes_too_late_is_not_the_next_ones(
    guest: Guest, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as context:
        context.setattr(guest.agent, "seconds", -1.0)
        with pytest.raises(pyharness.GuestTimeout, match="the agent in the guest does not answer"):
            guest.agent.request("hello")
    assert "root" in guest.agent.request("list", path="/")["names"]


def end_one_that_boots() -> bool:
    """Kill a QEMU of this process's whose kernel has said something by now."""
    for machine in lifecycle.all_machines():
        booting = machine.folder.parent.name == "saved-states" and machine.owner == os.getpid()
        if booting and machine.console_log.exists() and machine.last_words():
            os.kill(machine.pid, signal.SIGKILL)
            return True
    return False


def test_a_guest_that_does_not_boot_has_its_last_words(
    guest: Guest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("images", "ssh"):
        (tmp_path / name).symlink_to(cache.folder() / name)
    monkeypatch.setenv("PYHARNESS_CACHE", str(tmp_path))  # where nothing is booted yet
    monkeypatch.setenv(accelerator.ENV_VAR, guest.qemu.saved_state.accel.name)
    killer = threading.Thread(target=guest.wait, args=("one that boots", end_one_that_boots))
    killer.start()
    spec = guest_specs.find(guest.facts.name)
    with pytest.raises(GuestError, match=rf"^{spec.name}: .*console.*\n\[ *\d+\.\d+\] "):
        saved_states.ensure(spec)
    killer.join()
    assert list((tmp_path / "saved-states").iterdir()) == []


def test_a_guest_that_cannot_be_reached_has_its_last_words(
    guest: Guest, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pyharness.boot(guest.facts.name) as own:
        monkeypatch.setattr(qemu_process, "ANSWER_SECONDS", 1.0)
        own.run("systemctl stop ssh.socket ssh.service; echo 'sshd has stopped' > /dev/console")
        with pytest.raises(GuestTimeout, match=r"(?s)^no SSH at .*\nsshd has stopped$"):
            Guest(own.qemu, fresh=False)
