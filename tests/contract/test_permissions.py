# SPDX-License-Identifier: GPL-2.0
"""Who asks, by which ids, from where: nobody gets more than is theirs."""

import errno
import struct
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from arch import AT_FDCWD, first_of
from tasks import drop_capabilities, uptime

from pyharness import Actor, Guest, interceptor
from pyharness.interceptor import Command, Interceptor

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


def test_root_of_a_user_namespace_is_not_root(
    module: Interceptor, guest: Guest, nobody: Actor, root: Actor
) -> None:
    """Nor has it the rights there that a program of the same user has here."""
    program = "/usr/local/bin/sleep-with-rights"
    install(guest, program, "capability")
    strong = guest.actor("nobody")
    strong.execute(program, "1000")
    guest.wait("the program", lambda: has_executed(guest, strong.pid, program))
    # Who was root before may not look at its own files in /proc otherwise.
    assert nobody.syscall("prctl", PR_SET_DUMPABLE, 1).errno == 0
    assert nobody.syscall("unshare", CLONE_NEWUSER).errno == 0
    write(nobody, "/proc/self/uid_map", f"0 {NOBODY} 1")
    assert nobody.syscall(first_of(module.guest, "geteuid32", "geteuid")).value == 0
    assert module.intercept(CALL, by=nobody).errno == errno.EPERM
    with module.intercepted(CALL):
        assert module.release(CALL, by=nobody).errno == errno.EPERM
        for pid in (0, 1, root.pid, strong.pid):
            assert module.start(CALL, pid, by=nobody).errno == errno.EPERM
        assert module.start(CALL, nobody.pid, by=nobody).value == 0
    guest.run(["rm", program]).check()


def test_root_without_rights_is_not_root(module: Interceptor, root: Actor, nobody: Actor) -> None:
    """A container's root, say: its rights are a user's, over what is user 0's."""
    weak = root.fork()
    drop_capabilities(weak)
    assert module.intercept(CALL, by=weak).errno == errno.EPERM
    with module.intercepted(CALL):
        assert module.release(CALL, by=weak).errno == errno.EPERM
        for pid in (0, nobody.pid):
            assert module.start(CALL, pid, by=weak).errno == errno.EPERM
            assert module.stop(CALL, pid, by=weak).errno == errno.EPERM
        assert module.start(CALL, weak.pid, by=weak).value == 0
        assert module.stop(CALL, weak.pid, by=weak).value == 0


def test_a_pid_is_that_of_the_callers_namespace(module: Interceptor, root: Actor) -> None:
    """The log and the status file have the pid that their reader knows."""
    guest = module.guest
    assert root.syscall("unshare", CLONE_NEWPID).errno == 0
    inside = root.fork()
    assert inside.syscall("getpid").value == 1
    with module.intercepted(CALL):
        assert module.start(CALL, root.pid, by=inside).errno == errno.EINVAL
        assert module.start(CALL, 1, by=inside).value == 0
        assert module.status()[guest.syscalls.ref(CALL)].pids == {inside.pid}
        mark = guest.log.mark()
        inside.syscall(CALL, 0, 0)
        root.syscall(CALL, 0, 0)
        assert [call.pid for call in module.logged(mark)] == [inside.pid]
        assert module.stop(CALL, inside.pid, by=root).value == 0


def test_the_status_file_has_whom_its_reader_sees(module: Interceptor, root: Actor) -> None:
    """Not those outside of the reader's pid namespace, who have no pid there."""
    assert root.syscall("unshare", CLONE_NEWPID).errno == 0
    inside = root.fork()
    number = module.guest.syscalls.number(CALL)
    with module.intercepted(CALL):
        for pid in (root.pid, inside.pid):
            assert module.start(CALL, pid).value == 0
        with inside.open(str(module.interface.status)) as status:
            assert status.read(4096).decode() == f"{number} listed 1\n"
        assert module.status()[module.guest.syscalls.ref(number)].pids == {root.pid, inside.pid}


def test_a_setuid_program_is_not_its_callers(
    module: Interceptor, guest: Guest, nobody: Actor
) -> None:
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


# As security.capability: revision 2, effective; permitted: cap_net_raw.
CAPABILITY = struct.pack("<5I", 0x02000001, 1 << 13, 0, 0, 0).hex()
GIVE_CAPABILITY = """
import os, sys
os.setxattr(sys.argv[1], "security.capability", bytes.fromhex(sys.argv[2]))
"""
# How a program is installed with rights, and whether it has a capability.
RIGHTS = {
    "setuid": (("-m", "4755"), False),
    "setgid": (("-m", "2755", "-g", "shadow"), False),
    "capability": (("-m", "755"), True),
}


def install(guest: Guest, program: str, rights: str) -> None:
    options, capability = RIGHTS[rights]
    guest.run(["install", *options, "/bin/sleep", program]).check()
    if capability:
        guest.run(["python3", "-c", GIVE_CAPABILITY, program, CAPABILITY]).check()


def has_executed(guest: Guest, pid: int, program: str) -> bool:
    return program in guest.agent.read(f"/proc/{pid}/cmdline")


@pytest.mark.parametrize("rights", RIGHTS)
@pytest.mark.parametrize("everybody", [False, True])
@pytest.mark.parametrize("by_root", [False, True])
def test_a_users_entry_ends_at_a_privileged_exec(
    module: Interceptor,
    guest: Guest,
    nobody: Actor,
    rights: str,
    *,
    everybody: bool,
    by_root: bool,
) -> None:
    """A program that has more rights is not its caller's to watch, nor to hide from root."""
    program = "/usr/local/bin/sleep-with-rights"
    install(guest, program, rights)
    maker = guest.root if by_root else guest.actor("nobody")
    number = guest.syscalls.number(CALL)
    with module.intercepted(CALL):
        if everybody:
            assert module.start(CALL).value == 0
        command = module.stop if everybody else module.start
        assert command(CALL, nobody.pid, by=maker).value == 0
        nobody.execute("/bin/sleep", "1000")
        assert module.status()[guest.syscalls.ref(number)].pids == {nobody.pid}
        other = guest.actor("nobody")
        assert command(CALL, other.pid, by=maker).value == 0
        other.execute(program, "1000")
        guest.wait("the program", lambda: has_executed(guest, other.pid, program))
        persistent = {nobody.pid, other.pid} if by_root else {nobody.pid}
        assert module.status()[guest.syscalls.ref(number)].pids == persistent
        third = guest.actor("nobody")
        # Nor may he take it again, or stop what is root's.
        for again in (module.start, module.stop):
            assert again(CALL, other.pid, by=third).errno == errno.EPERM
        assert module.status()[guest.syscalls.ref(number)].pids == persistent
    guest.run(["rm", program]).check()


@pytest.mark.parametrize("everybody", [False, True])
def test_a_program_that_is_executed_during_a_command_is_not_its_callers(
    bare_guest: Guest,
    broken_module: Callable[[str, str, str], Path],
    parameters: dict[str, str],
    *,
    everybody: bool,
) -> None:
    """It became somebody else's after its owner was looked at, and before it is recorded."""
    guest = bare_guest
    looked_at = "	mutex_lock(&calls_lock);\n	if (!hooks_any(call->hooks) ||"
    waits = f"	schedule_timeout_uninterruptible(3 * HZ);\n{looked_at}"
    module = interceptor.load(guest, broken_module("interceptor.c", looked_at, waits), **parameters)
    program = "/usr/local/bin/sleep-with-rights"
    install(guest, program, "setuid")
    caller, other = guest.actor("nobody"), guest.actor("nobody")
    number = guest.syscalls.number(CALL)
    try:
        with module.intercepted(CALL):
            if everybody:
                assert module.start(CALL).value == 0
            before = module.status()
            command = module.interface.commands[Command.STOP if everybody else Command.START]
            caller.begin(module.interface.custom_syscall, command, number, other.pid)
            guest.wait("the command", lambda: guest.agent.state(caller.pid) == "D")
            other.execute(program, "1000")
            guest.wait("the program", lambda: has_executed(guest, other.pid, program))
            assert guest.agent.state(caller.pid) == "D"
            assert caller.finish().errno == errno.EPERM
            assert module.status() == before
    finally:
        module.unload()
        guest.run(["rm", program]).check()


def test_a_process_is_its_callers_with_all_its_threads(
    module: Interceptor, guest: Guest, compiled: Callable[..., str]
) -> None:
    """One whose second thread is root's is not a user's to watch."""
    mixed = guest.actor()
    mixed.execute(compiled("mixed"), str(NOBODY))
    tasks = f"/proc/{mixed.pid}/task"
    guest.wait(
        "its threads",
        lambda: f"Uid:\t{NOBODY}\t" in guest.agent.read(f"{tasks}/{mixed.pid}/status"),
    )
    with module.intercepted(CALL):
        assert module.start(CALL, mixed.pid, by=guest.actor("nobody")).errno == errno.EPERM
        assert module.start(CALL, mixed.pid).value == 0


@pytest.mark.parametrize("everybody", [False, True])
def test_what_root_asks_for_as_well_is_roots(
    module: Interceptor, guest: Guest, nobody: Actor, *, everybody: bool
) -> None:
    """A user who was first has no hand in it: it stays where his would end."""
    program = "/usr/local/bin/sleep-with-rights"
    install(guest, program, "setuid")
    with module.intercepted(CALL):
        if everybody:
            assert module.start(CALL).value == 0
        command = module.stop if everybody else module.start
        assert command(CALL, nobody.pid, by=nobody).value == 0
        assert command(CALL, nobody.pid).errno == (errno.EINVAL if everybody else errno.EBUSY)
        nobody.execute(program, "1000")
        guest.wait("the program", lambda: has_executed(guest, nobody.pid, program))
        assert module.status()[guest.syscalls.ref(CALL)].pids == {nobody.pid}
    guest.run(["rm", program]).check()


def test_users_may_be_kept_out(bare_guest: Guest, parameters: dict[str, str]) -> None:
    """users=0: START and STOP are root's alone."""
    module = interceptor.load(bare_guest, users=0, **parameters)
    nobody = bare_guest.actor("nobody")
    try:
        with module.intercepted(CALL):
            assert module.start(CALL, nobody.pid, by=nobody).errno == errno.EPERM
            assert module.start(CALL, nobody.pid).value == 0
            assert module.stop(CALL, nobody.pid, by=nobody).errno == errno.EPERM
            assert module.stop(CALL, nobody.pid).value == 0
    finally:
        module.unload()


def test_a_user_has_so_many_entries(bare_guest: Guest, parameters: dict[str, str]) -> None:
    """Over all calls; each that goes makes room for another. Root is not limited."""
    module = interceptor.load(bare_guest, user_entries=3, **parameters)
    nobody = bare_guest.actor("nobody")
    children = [nobody.fork() for _ in range(4)]
    try:
        with module.intercepted(CALL, "getpgid"):
            mark = bare_guest.log.mark()
            for call, child in ((CALL, 0), ("getpgid", 0), (CALL, 1)):
                assert module.start(call, children[child].pid, by=nobody).value == 0
            assert module.start(CALL, children[2].pid, by=nobody).errno == errno.ENOMEM
            assert module.start(CALL, children[2].pid, by=children[3]).errno == errno.ENOMEM
            # What is recorded already needs no room.
            assert module.start(CALL, children[1].pid, by=nobody).errno == errno.EBUSY
            said = "\n".join(record.text for record in bare_guest.log.since(mark))
            assert f"user {NOBODY} has 3 processes recorded (user_entries=3)" in said
            children[1].exit()
            assert module.start(CALL, children[2].pid, by=nobody).value == 0
            assert module.stop("getpgid", children[0].pid, by=nobody).value == 0
            assert module.start("getpgid", children[2].pid, by=nobody).value == 0
            assert module.start("getpgid", children[0].pid, by=nobody).errno == errno.ENOMEM
            assert module.start("getpgid", children[0].pid).value == 0
            daemon = bare_guest.actor("daemon")
            assert module.start("getpgid", daemon.pid, by=daemon).value == 0
            # Of user 0's, those count that were made without root's rights.
            container = bare_guest.root.fork()
            for listed in children:
                module.start(CALL, listed.pid)
            drop_capabilities(container)
            assert module.start(CALL, container.pid, by=container).value == 0
    finally:
        module.unload()


GROUP = "/sys/fs/cgroup/entries"


def slab(guest: Guest) -> int:
    """The bytes of kernel objects that the processes of GROUP are charged for."""
    fields = guest.agent.read(f"{GROUP}/memory.stat").split()
    return int(fields[fields.index("slab") + 1])


@pytest.mark.kernel(">=6.1")  # earlier ones count by 32 pages
def test_an_entry_is_charged_to_its_makers_cgroup(
    module: Interceptor, root: Actor, number_of_syscalls: int
) -> None:
    """The list's own memory as well as the entry's."""
    guest = module.guest
    guest.run(f"echo +memory > /sys/fs/cgroup/cgroup.subtree_control; mkdir {GROUP}").check()
    maker = root.fork()
    write(maker, f"{GROUP}/cgroup.procs", str(maker.pid))
    calls = range(number_of_syscalls - 100, number_of_syscalls)
    with module.intercepted(*calls):
        before = slab(guest)
        for call in calls:
            assert module.start(call, root.pid, by=maker).value == 0
        assert slab(guest) - before > 300 * len(calls)
    maker.exit()
    guest.wait("the group to be empty", lambda: not guest.run(f"rmdir {GROUP}").status)


def test_what_users_log_is_limited(bare_guest: Guest, parameters: dict[str, str]) -> None:
    """The kernel log says so, and has all that root wanted to have logged."""
    module = interceptor.load(bare_guest, user_lines=10, **parameters)
    nobody, daemon = bare_guest.actor("nobody"), bare_guest.actor("daemon")
    try:
        with module.intercepted(CALL):
            assert module.start(CALL, nobody.pid, by=nobody).value == 0
            assert module.start(CALL, daemon.pid).value == 0
            mark, begin = bare_guest.log.mark(), uptime(bare_guest)
            for actor in (nobody, daemon):
                actor.syscall(CALL, 0, 0, repeat=200)
            end = uptime(bare_guest)
            logged = Counter(call.pid for call in module.logged(mark))
            assert logged[daemon.pid] == 200
            assert 10 <= logged[nobody.pid] <= 10 * (2 + int(end - begin))
            said = "\n".join(record.text for record in bare_guest.log.since(mark))
            assert said.count("left out of the log: more than 10 a second (user_lines=10)") == 1
            # Each second has as many again.
            bare_guest.wait("the next second", lambda: uptime(bare_guest) > end + 1.1)
            mark = bare_guest.log.mark()
            nobody.syscall(CALL, 0, 0, repeat=10)
            assert len(module.logged(mark)) == 10
    finally:
        module.unload()


def test_an_excluded_process_is_not_counted_again(
    bare_guest: Guest, parameters: dict[str, str]
) -> None:
    """STOP, while everybody is monitored, is recorded for each process."""
    module = interceptor.load(bare_guest, user_entries=1, **parameters)
    nobody = bare_guest.actor("nobody")
    try:
        with module.intercepted(CALL):
            assert module.start(CALL).value == 0
            assert module.stop(CALL, nobody.pid, by=nobody).value == 0
            assert module.stop(CALL, nobody.pid, by=nobody).errno == errno.EINVAL
    finally:
        module.unload()


@pytest.mark.parametrize("user_lines", [0, 2**32 - 1])
def test_what_users_log_need_not_be_limited(
    bare_guest: Guest,
    parameters: dict[str, str],
    compiled: Callable[..., str],
    user_lines: int,
) -> None:
    """Users that log at the same moment, on several CPUs, have all their lines."""
    program = compiled("lines")
    module = interceptor.load(bare_guest, user_lines=user_lines, **parameters)
    try:
        with module.intercepted(CALL):
            mark = bare_guest.log.mark()
            bare_guest.run([program, str(NOBODY), "2", "1500"], seconds=60).check()
            logged = Counter(call.pid for call in module.logged(mark))
            assert [*logged.values()] == [6000, 6000]
            said = "\n".join(record.text for record in bare_guest.log.since(mark))
            assert "left out of the log" not in said
    finally:
        module.unload()


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
    module: Interceptor, root: Actor, ids: tuple[int, int, int], is_root: bool
) -> None:
    assert root.syscall(first_of(module.guest, "setresuid32", "setresuid"), *ids).errno == 0
    wanted = 0 if is_root else errno.EPERM
    assert module.intercept(CALL, by=root).errno == wanted
    assert module.start("exit_group", 0, by=root).errno == (errno.EINVAL if is_root else wanted)


def test_a_traced_caller_is_served_as_any(
    module: Interceptor, guest: Guest, nobody: Actor, root: Actor
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
            assert [call.pid for call in module.logged(mark)] == [nobody.pid]
            assert module.stop(CALL, nobody.pid, by=nobody).value == 0
        nobody.exit()
        said = guest.run(["cat", "/tmp/strace"]).check().stdout
    finally:
        tracer.close()
    assert "sched_rr_get_interval" in said
    assert "restart_syscall" in said


@pytest.mark.parametrize("high", [0x80000000, 0x00010000, 0x40000000])
def test_high_bits_are_not_cut_off(
    module: Interceptor, nobody: Actor, root: Actor, high: int
) -> None:
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
        assert not module.status()[guest.syscalls.ref(number)].pids


def seconds(guest: Guest, pid: int) -> float:
    """The CPU time that a process has had."""
    fields = guest.agent.read(f"/proc/{pid}/stat").rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / 100


def test_a_hostile_user_has_just_a_share(
    module: Interceptor, guest: Guest, compiled: Callable[[str], str]
) -> None:
    """Commands in a tight loop take no more from who shares the CPU than anything else does."""
    first_cpu = "\x01\0\0\0"
    hostile, other = guest.actor("nobody"), guest.actor("daemon")
    for actor in (hostile, other):
        assert actor.syscall("sched_setaffinity", 0, 4, first_cpu).errno == 0
    with module.intercepted(CALL):
        start = module.interface.commands[Command.START]
        number = guest.syscalls.number(CALL)
        hostile.begin(module.interface.custom_syscall, start, number, hostile.pid, repeat=10**9)
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
