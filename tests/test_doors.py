# SPDX-License-Identifier: GPL-2.0
"""Who asks, by which ids, from where: nobody gets more than is theirs."""

import errno
from collections.abc import Callable

import pytest
from portable import AT_FDCWD, first_of

from pyharness import Actor, Command, Guest, Module

CALL = "sched_rr_get_interval"
CLONE_NEWUSER, CLONE_NEWPID = 0x10000000, 0x20000000
PR_SET_DUMPABLE = 4
NOBODY = 65534


def write(actor: Actor, path: str, text: str) -> None:
    """Have an actor write to a file."""
    file = actor.syscall("openat", AT_FDCWD, path, 1).value
    assert file >= 0, path
    assert actor.syscall("write", file, text, len(text)).value == len(text)
    actor.syscall("close", file)


def test_root_of_a_user_namespace_is_not_root(module: Module, nobody: Actor, root: Actor) -> None:
    # Who was root before may not look at its own files in /proc otherwise.
    assert nobody.syscall("prctl", PR_SET_DUMPABLE, 1).errno == 0
    assert nobody.syscall("unshare", CLONE_NEWUSER).errno == 0
    write(nobody, "/proc/self/uid_map", f"0 {NOBODY} 1")
    assert nobody.syscall(first_of(module.guest, "geteuid32", "geteuid")).value == 0
    assert module.intercept(CALL, by=nobody).errno == errno.EPERM
    with module.intercepted(CALL):
        assert module.release(CALL, by=nobody).errno == errno.EPERM
        for pid in (0, 1, root.pid):
            assert module.start(CALL, pid, by=nobody).errno == errno.EPERM
        assert module.start(CALL, nobody.pid, by=nobody).value == 0


def test_a_pid_is_that_of_the_callers_namespace(module: Module, root: Actor) -> None:
    """The log and the status file have the pid that their reader knows."""
    guest = module.guest
    assert root.syscall("unshare", CLONE_NEWPID).errno == 0
    inside = root.fork()
    assert inside.syscall("getpid").value == 1
    with module.intercepted(CALL):
        assert module.start(CALL, root.pid, by=inside).errno == errno.EINVAL
        assert module.start(CALL, 1, by=inside).value == 0
        assert module.status()[guest.syscalls.number(CALL)].pids == {inside.pid}
        mark = guest.log.mark()
        inside.syscall(CALL, 0, 0)
        root.syscall(CALL, 0, 0)
        assert [call.pid for call in guest.log.calls(mark)] == [inside.pid]
        assert module.stop(CALL, inside.pid, by=root).value == 0


def test_a_setuid_program_is_not_its_callers(module: Module, guest: Guest, nobody: Actor) -> None:
    """Who may not trace it may not monitor it either, though it was started by them."""
    program = "/usr/local/bin/sleep-as-root"  # /tmp need not heed set-user-ID
    guest.run(["install", "-m", "4755", "/bin/sleep", program]).check()
    other = guest.actor("nobody")
    with module.intercepted(CALL):
        assert module.start(CALL, nobody.pid, by=other).value == 0
        assert module.stop(CALL, nobody.pid, by=other).value == 0
        nobody.execute(program, "1000")
        path = f"/proc/{nobody.pid}/status"
        guest.wait("the program", lambda: f"Uid:\t{NOBODY}\t0\t0\t0" in guest.agent.read(path))
        assert module.start(CALL, nobody.pid, by=other).errno == errno.EPERM
        assert module.start(CALL, nobody.pid).value == 0
        assert module.stop(CALL, nobody.pid, by=other).errno == errno.EPERM
    guest.run(["rm", program]).check()


@pytest.mark.parametrize(
    ("ids", "is_root"),
    [
        ((NOBODY, 0, 0), True),  # runs a setuid program of root's
        ((0, NOBODY, 0), False),  # root who has laid it down for a while
        ((0, 0, NOBODY), True),
        ((NOBODY, NOBODY, 0), False),
    ],
)
def test_root_is_who_acts_as_root(
    module: Module, root: Actor, ids: tuple[int, int, int], is_root: bool
) -> None:
    assert root.syscall(first_of(module.guest, "setresuid32", "setresuid"), *ids).errno == 0
    wanted = 0 if is_root else errno.EPERM
    assert module.intercept(CALL, by=root).errno == wanted
    assert module.start("exit_group", 0, by=root).errno == (errno.EINVAL if is_root else wanted)


def test_a_traced_caller_is_served_as_any(
    module: Module, guest: Guest, nobody: Actor, root: Actor
) -> None:
    """Each of its calls goes through its tracer, here strace, twice."""
    tracer = guest.ssh.open(f"strace -f -p {nobody.pid} -o /tmp/strace")
    try:
        status = f"/proc/{nobody.pid}/status"
        guest.wait("strace", lambda: "TracerPid:\t0" not in guest.agent.read(status))
        with module.intercepted(CALL):
            assert module.intercept(CALL, by=nobody).errno == errno.EPERM
            assert module.start(CALL, nobody.pid, by=nobody).value == 0
            mark = guest.log.mark()
            assert nobody.syscall(CALL, nobody.pid, 0).errno == errno.EFAULT
            assert [call.pid for call in guest.log.calls(mark)] == [nobody.pid]
            assert module.stop(CALL, nobody.pid, by=nobody).value == 0
        nobody.exit()
        said = guest.run(["cat", "/tmp/strace"]).check().stdout
    finally:
        tracer.close()
    assert "sched_rr_get_interval" in said
    assert "restart_syscall" in said


@pytest.mark.parametrize("high", [0x80000000, 0x00010000, 0x40000000])
def test_high_bits_are_not_cut_off(module: Module, nobody: Actor, root: Actor, high: int) -> None:
    """A value that would be a good one in 8, 16 or 31 bits is none."""
    guest = module.guest
    number = guest.syscalls.number(CALL)
    wrong = high - 2**32 if high == 0x80000000 else high
    with module.intercepted(CALL):
        for command in Command:
            assert module.command(wrong | command, number, 0, by=root).errno == errno.EINVAL
            assert module.command(command, wrong | number, 0, by=root).errno == errno.EINVAL
        for command in (Command.START, Command.STOP):
            pid = wrong | nobody.pid
            assert module.command(command, number, pid, by=root).errno == errno.EINVAL
        assert not module.status()[number].pids


def seconds(guest: Guest, pid: int) -> float:
    """The CPU time that a process has had."""
    fields = guest.agent.read(f"/proc/{pid}/stat").rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / 100


def test_a_hostile_user_has_just_a_share(
    module: Module, guest: Guest, compiled: Callable[[str], str]
) -> None:
    """Commands in a tight loop take no more from who shares the CPU than anything else does."""
    first_cpu = "\x01\0\0\0"
    hostile, other = guest.actor("nobody"), guest.actor("daemon")
    for actor in (hostile, other):
        assert actor.syscall("sched_setaffinity", 0, 4, first_cpu).errno == 0
    with module.intercepted(CALL):
        start = module.abi.commands[Command.START]
        number = guest.syscalls.number(CALL)
        hostile.begin(module.abi.custom_syscall, start, number, hostile.pid, repeat=10**9)
        other.begin("getppid", repeat=10**9)
        guest.wait(
            "both to have run", lambda: min(seconds(guest, a.pid) for a in (hostile, other)) > 1
        )
        before = [seconds(guest, actor.pid) for actor in (hostile, other)]
        guest.wait("more of that", lambda: seconds(guest, other.pid) > before[1] + 2)
        hostiles, others = (
            seconds(guest, actor.pid) - had
            for actor, had in zip((hostile, other), before, strict=True)
        )
        assert 0.7 < hostiles / others < 1.4
        # Who needs what it holds, on another CPU, gets that as well.
        begin = guest.clock()
        for _ in range(20):
            assert module.start(CALL, other.pid).value == 0
            assert module.stop(CALL, other.pid).value == 0
        assert guest.clock() - begin < guest.limit(5)
