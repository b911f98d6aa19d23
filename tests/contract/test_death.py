# SPDX-License-Identifier: GPL-2.0
"""However a process ends, its entries go, and its number alone means nothing."""

import errno
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from arch import AT_FDCWD

from pyharness import Actor, Guest, interceptor
from pyharness.interceptor import Intercepted, Interceptor

CALLS = ("sched_rr_get_interval", "getpgid", "capget")
CALL = CALLS[0]


@pytest.fixture
def monitoring(module: Interceptor) -> Iterator[Interceptor]:
    with module.intercepted(*CALLS):
        yield module


def pids(module: Interceptor) -> set[frozenset[int]]:
    """The pids of each call that is intercepted, which should all be the same."""
    return {line.pids for line in module.status().values()}


def state(module: Interceptor) -> Intercepted:
    return module.status()[module.guest.syscalls.ref(CALL)]


def watch(module: Interceptor, *actors: Actor) -> None:
    for call in CALLS:
        for actor in actors:
            assert module.start(call, actor.pid).value == 0
    assert pids(module) == {frozenset(actor.pid for actor in actors)}


def by_exit_group(actor: Actor) -> None:
    actor.exit()


def by_exit_group_of_a_thread(actor: Actor) -> None:
    actor.thread().exit()


def by_signal(actor: Actor) -> None:
    actor.kill(signal.SIGKILL)


def by_exit_of_the_last_thread(actor: Actor) -> None:
    actor.exit_thread()


def by_exit_of_all_threads(actor: Actor) -> None:
    thread = actor.thread()
    actor.exit_thread()
    thread.exit_thread()


@pytest.mark.parametrize(
    "end",
    [
        by_exit_group,
        by_exit_group_of_a_thread,
        by_signal,
        by_exit_of_the_last_thread,
        by_exit_of_all_threads,
    ],
)
@pytest.mark.parametrize("everybody", [False, True])
def test_entries_go_with_their_process(
    monitoring: Interceptor,
    nobody: Actor,
    root: Actor,
    end: Callable[[Actor], None],
    everybody: bool,
) -> None:
    """On several calls at once; who lives keeps theirs; as who is listed and who is taken out."""
    if everybody:
        for call in CALLS:
            assert monitoring.start(call).value == 0
            assert monitoring.stop(call, nobody.pid).value == 0
            assert monitoring.stop(call, root.pid).value == 0
    else:
        watch(monitoring, nobody, root)
    end(nobody)
    monitoring.guest.wait(
        "the end of the process's entries", lambda: pids(monitoring) == {frozenset({root.pid})}
    )
    nobody.reap()
    assert pids(monitoring) == {frozenset({root.pid})}
    assert monitoring.stop(CALL, nobody.pid).errno == errno.EINVAL


def test_a_zombie_has_no_entries(monitoring: Interceptor, nobody: Actor) -> None:
    """Its end counts, not that its parent takes note of it. It can be listed again till then."""
    child = nobody.fork()
    watch(monitoring, child)
    child.exit()
    assert pids(monitoring) == {frozenset()}
    assert "Z (zombie)" in monitoring.guest.agent.read(f"/proc/{child.pid}/status")
    assert monitoring.start(CALL, child.pid).value == 0
    assert monitoring.start(CALL, child.pid).errno == errno.EBUSY
    assert nobody.wait(child) == 0
    monitoring.guest.wait("the end of its entry", lambda: not state(monitoring).pids)
    assert monitoring.start(CALL, child.pid).errno == errno.EINVAL


def test_a_process_whose_first_thread_is_gone_goes_on(
    monitoring: Interceptor, nobody: Actor
) -> None:
    thread = nobody.thread()
    watch(monitoring, nobody)
    nobody.exit_thread()
    guest = monitoring.guest
    guest.wait("the thread's end", lambda: guest.agent.state(nobody.pid) == "Z")
    assert pids(monitoring) == {frozenset({nobody.pid})}
    mark = monitoring.guest.log.mark()
    thread.syscall(CALL, 0, 0)
    assert [call.pid for call in monitoring.logged(mark)] == [thread.pid]


def test_a_threads_entry_goes_with_the_thread(monitoring: Interceptor, nobody: Actor) -> None:
    first, second = nobody.thread(), nobody.thread()
    watch(monitoring, nobody, first, second)
    first.exit_thread()
    monitoring.guest.wait(
        "the end of the thread's entries",
        lambda: pids(monitoring) == {frozenset({nobody.pid, second.pid})},
    )


def test_exec_of_a_thread_gives_up_its_own_entry(monitoring: Interceptor, nobody: Actor) -> None:
    """Whoever calls exec() becomes the process's first thread; the process stays what it was."""
    first, second = nobody.thread(), nobody.thread()
    watch(monitoring, nobody, first, second)
    first.execute("/bin/sleep", "1000")
    monitoring.guest.wait(
        "the end of the threads' entries",
        lambda: pids(monitoring) == {frozenset({nobody.pid})},
    )
    assert "sleep" in monitoring.guest.agent.read(f"/proc/{nobody.pid}/comm")
    monitoring.guest.agent.kill(nobody.pid, signal.SIGKILL)
    monitoring.guest.wait(
        "the end of the process's entries", lambda: pids(monitoring) == {frozenset()}
    )


def born_again(parent: Actor, dead: Actor) -> Actor:
    """A process that has a dead one's number."""
    last_pid = parent.syscall("openat", AT_FDCWD, "/proc/sys/kernel/ns_last_pid", 1).value
    wanted = str(dead.pid - 1)
    # Somebody else may be born in between: then it's the next one's turn.
    for _ in range(50):
        assert parent.syscall("pwrite64", last_pid, wanted, len(wanted), 0, 0).errno == 0
        child = parent.fork()
        if child.pid == dead.pid:
            return child
        child.exit()
        parent.wait(child)
    pytest.fail(f"nobody gets the number {dead.pid} again")


@pytest.mark.parametrize("everybody", [False, True])
def test_a_reused_pid_inherits_no_entry(
    monitoring: Interceptor, guest: Guest, root: Actor, everybody: bool
) -> None:
    """It isn't monitored for the dead one, nor is it taken out for it."""
    dead = root.fork()
    if everybody:
        assert monitoring.start(CALL).value == 0
        assert monitoring.stop(CALL, dead.pid).value == 0
    else:
        assert monitoring.start(CALL, dead.pid).value == 0
    dead.exit()
    assert root.wait(dead) == 0
    alive = born_again(root, dead)
    mark = guest.log.mark()
    assert alive.syscall(CALL, alive.pid, 0).errno == errno.EFAULT
    assert [call.pid for call in monitoring.logged(mark)] == [alive.pid] * everybody
    assert state(monitoring).pids == frozenset()


def test_a_zombies_entry_is_not_inherited_by_a_reused_pid(
    monitoring: Interceptor, root: Actor
) -> None:
    for _ in range(5):
        zombie = root.fork()
        zombie.exit()
        assert monitoring.start(CALL, zombie.pid).value == 0
        assert root.wait(zombie) == 0
        alive = born_again(root, zombie)
        assert monitoring.start(CALL, alive.pid).value == 0
        alive.exit()
        assert root.wait(alive) == 0


def test_exit_group_is_logged_before_the_end(module: Interceptor, nobody: Actor) -> None:
    with module.intercepted("exit_group"):
        assert module.start("exit_group", nobody.pid).value == 0
        mark = module.guest.log.mark()
        nobody.exit(7)
        assert os.waitstatus_to_exitcode(nobody.reap()) == 7
        (call,) = module.logged(mark)
        assert (call.pid, call.args[0]) == (nobody.pid, 7)


# What a process does before exit_group() lasts, so that its other threads go on for a while.
ENDS = "}\n\nstatic bool exit_group_wanted("
ENDS_LATE = f"""
	{{
		unsigned long end = jiffies + HZ / 5;

		while (time_before(jiffies, end))
			cpu_relax();
	}}
{ENDS}"""


@pytest.mark.parametrize("everybody", [False, True])
def test_a_process_is_monitored_as_before_until_it_ends(
    bare_guest: Guest,
    broken_module: Callable[[str, str, str], Path],
    parameters: dict[str, str],
    *,
    everybody: bool,
) -> None:
    """With all its threads, which go on for a moment after one has called exit_group()."""
    guest = bare_guest
    module = interceptor.load(guest, broken_module("interceptor.c", ENDS, ENDS_LATE), **parameters)
    try:
        with module.intercepted(CALL, "exit_group"):
            actor = guest.actor()
            thread = actor.thread()
            if everybody:
                assert module.start(CALL).value == 0
                assert module.stop(CALL, actor.pid).value == 0
            else:
                assert module.start(CALL, actor.pid).value == 0
            assert module.start("exit_group", actor.pid).value == 0
            thread.begin(CALL, 0, 0, repeat=10**9)
            guest.wait("calls of the thread", lambda: guest.agent.state(thread.pid) == "R")
            mark = guest.log.mark()
            actor.begin("exit_group", 0)  # by ctypes, which lets the other thread go on
            actor.reap()
            logged = [call.syscall.number for call in module.logged(mark)]
            after = logged[logged.index(guest.syscalls.number("exit_group")) + 1 :]
            assert bool(after) != everybody
    finally:
        module.unload()
