# SPDX-License-Identifier: GPL-2.0
"""Sleeps that are interrupted are finished by system call 0, which the module has taken."""

import errno
import signal
from collections.abc import Callable

import pytest

from pyharness import Actor, Guest, Module

SECONDS = 1


def timespec(seconds: int) -> str:
    return "".join(map(chr, seconds.to_bytes(4, "little"))) + "\0" * 4


def uptime(guest: Guest) -> float:
    """The guest's own clock, in seconds since its boot."""
    return float(guest.agent.read("/proc/uptime").split()[0])


def task_state(guest: Guest, pid: int) -> str:
    return guest.agent.read(f"/proc/{pid}/stat").rsplit(")", 1)[1].split()[0]


SLEEPS: dict[str, tuple[tuple[str, tuple[int | str, ...]], int]] = {
    "nanosleep": (("nanosleep", (timespec(SECONDS), 0)), 0),
    "clock_nanosleep": (("clock_nanosleep", (1, 0, timespec(SECONDS), 0)), 0),
    "clock_nanosleep realtime": (("clock_nanosleep", (0, 0, timespec(SECONDS), 0)), 0),
    "poll": (("poll", (0, 0, SECONDS * 1000)), 0),
    "futex": (("futex", ("\0" * 8, 0, 0, timespec(SECONDS), 0, 0)), errno.ETIMEDOUT),
    "select": (("_newselect", (0, 0, 0, 0, timespec(SECONDS))), 0),
}


def stop_and_continue(guest: Guest, actor: Actor) -> None:
    actor.kill(signal.SIGSTOP)
    guest.wait("the sleeper to stop", lambda: task_state(guest, actor.pid) == "T")
    actor.kill(signal.SIGCONT)


def attach_and_detach(guest: Guest, actor: Actor) -> None:
    """As a debugger does it: ptrace(PTRACE_ATTACH), wait, ptrace(PTRACE_DETACH)."""
    debugger = guest.actor()
    assert debugger.syscall("ptrace", 16, actor.pid, 0, 0).value == 0
    guest.wait("the sleeper to stop", lambda: task_state(guest, actor.pid) == "t")
    assert debugger.syscall("ptrace", 17, actor.pid, 0, 0).value == 0


def strace_and_detach(guest: Guest, actor: Actor) -> None:
    """As a person does it: strace -p, and Ctrl-C."""
    attach_strace(guest, actor.pid)


def attach_strace(guest: Guest, pid: int) -> None:
    """Have strace look at a process for a moment."""
    status = f"/proc/{pid}/status"
    strace = guest.actor()
    strace.execute("/usr/bin/strace", "-o", "/dev/null", "-p", str(pid))
    guest.wait("strace", lambda: f"TracerPid:\t{strace.pid}" in guest.agent.read(status))
    guest.wait("the sleep to go on", lambda: task_state(guest, pid) == "S")
    strace.kill(signal.SIGINT)
    strace.reap()


@pytest.mark.parametrize("sleep", SLEEPS)
@pytest.mark.parametrize("interrupt", [stop_and_continue, attach_and_detach, strace_and_detach])
@pytest.mark.parametrize("monitored", [False, True])
def test_an_interrupted_sleep_is_finished(
    module: Module,
    nobody: Actor,
    *,
    sleep: str,
    interrupt: Callable[[Guest, Actor], None],
    monitored: bool,
) -> None:
    """With the result and the duration that it has without the module."""
    guest = module.guest
    (call, args), wanted = SLEEPS[sleep]
    with module.intercepted(*[call] * monitored):
        if monitored:
            assert module.start(call, nobody.pid).value == 0
        begin = uptime(guest)
        nobody.begin(call, *args)
        guest.wait("the sleep", lambda: task_state(guest, nobody.pid) == "S")
        for _ in range(2):
            interrupt(guest, nobody)
        result = nobody.finish()
        assert (result.errno, max(result.value, 0)) == (wanted, 0)
        # /proc/uptime has hundredths; the kernel may not wake early.
        assert SECONDS - 0.02 <= uptime(guest) - begin < 5 * SECONDS


@pytest.mark.parametrize("monitored", [False, True])
def test_sleep_3(module: Module, nobody: Actor, *, monitored: bool) -> None:
    """The program itself, stopped, continued, and looked at by strace."""
    guest = module.guest
    with module.intercepted(*["clock_nanosleep", "clock_nanosleep_time64"] * monitored):
        if monitored:
            for call in ("clock_nanosleep", "clock_nanosleep_time64"):
                assert module.start(call, nobody.pid).value == 0
        mark = guest.log.mark()
        begin = uptime(guest)
        nobody.execute("/bin/sleep", "3")
        guest.wait(
            "the sleep", lambda: "nanosleep" in guest.agent.read(f"/proc/{nobody.pid}/wchan")
        )
        stop_and_continue(guest, nobody)
        attach_strace(guest, nobody.pid)
        stop_and_continue(guest, nobody)
        assert nobody.reap() == 0
        assert 3 - 0.02 <= uptime(guest) - begin < 6
        # Its restarts are the kernel's, and are not logged: it was called once.
        assert [call.pid for call in guest.log.calls(mark)] == [nobody.pid] * monitored


def test_commands_work_for_who_slept_before(module: Module, guest: Guest, root: Actor) -> None:
    """The kernel forgets to say that a sleep is over: the registers must tell."""
    root.begin("nanosleep", timespec(SECONDS), 0)
    guest.wait("the sleep", lambda: task_state(guest, root.pid) == "S")
    stop_and_continue(guest, root)
    assert root.finish().value == 0
    assert module.intercept("mkdir", by=root).value == 0
    assert module.start("mkdir", root.pid, by=root).value == 0
    assert module.start("mkdir", root.pid, by=root).errno == errno.EBUSY
    assert module.stop("mkdir", root.pid, by=root).value == 0
    assert module.release("mkdir", by=root).value == 0
