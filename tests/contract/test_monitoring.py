# SPDX-License-Identifier: GPL-2.0
"""Monitoring beyond the rules of test_rules.py: threads, and what the status file says."""

import errno
from collections.abc import Iterator

import pytest

from pyharness import Actor, Guest
from pyharness.interceptor import Command, Intercepted, Interceptor

CALL = "sched_rr_get_interval"  # nobody but the tests calls this


def is_logged(actor: Actor, module: Interceptor) -> bool:
    """Whether a call by that actor is logged, once, and returns what it should."""
    log = module.guest.log
    mark = log.mark()
    assert actor.syscall(CALL, actor.pid, 0).errno == errno.EFAULT
    pids = [call.pid for call in module.logged(mark)]
    assert pids in ([], [actor.pid])
    return bool(pids)


@pytest.fixture
def monitoring(module: Interceptor) -> Iterator[Interceptor]:
    """The module with CALL intercepted."""
    with module.intercepted(CALL):
        yield module


def state(module: Interceptor) -> Intercepted:
    """What the status file says of CALL."""
    return module.status()[module.guest.syscalls.ref(CALL)]


def test_everybody_takes_over_from_a_list(
    monitoring: Interceptor, root: Actor, nobody: Actor
) -> None:
    """Who was listed is not one of those taken out, and the list is gone afterwards."""
    assert monitoring.start(CALL, root.pid).value == 0
    assert monitoring.start(CALL).value == 0
    assert is_logged(root, monitoring)
    assert is_logged(nobody, monitoring)
    assert monitoring.stop(CALL).value == 0
    assert not is_logged(root, monitoring)


# ---- threads ----


def test_a_process_is_all_its_threads(monitoring: Interceptor, nobody: Actor) -> None:
    before = nobody.thread()
    assert monitoring.start(CALL, nobody.pid).value == 0
    after = nobody.thread()
    for actor in (nobody, before, after):
        assert is_logged(actor, monitoring)
    assert not is_logged(nobody.fork(), monitoring)


def test_a_thread_is_just_itself(monitoring: Interceptor, nobody: Actor) -> None:
    first, second = nobody.thread(), nobody.thread()
    assert monitoring.start(CALL, first.pid, by=nobody).value == 0
    assert state(monitoring).pids == {first.pid}
    assert is_logged(first, monitoring)
    assert not is_logged(second, monitoring)
    assert not is_logged(nobody, monitoring)


@pytest.mark.parametrize("call", [None, "exit_group", "exit"])
def test_processes_end_with_their_status(
    module: Interceptor, guest: Guest, call: str | None
) -> None:
    """The hijack of exit_group, which is always there, and of what else they end by."""
    ends = (
        "import ctypes, os; os.fork() or ctypes.CDLL(None).syscall({}, 7); exit(os.wait()[1] >> 8)"
    )
    with module.intercepted(*filter(None, [call])):
        assert guest.run("exit 5").status == 5
        for name in ("exit_group", "exit"):
            program = ["python3", "-c", ends.format(guest.syscalls.number(name))]
            assert guest.run(program).status == 7, name


def test_threads_under_everybody_except(monitoring: Interceptor, nobody: Actor) -> None:
    first, second = nobody.thread(), nobody.thread()
    assert monitoring.start(CALL).value == 0
    assert monitoring.stop(CALL, first.pid).value == 0
    assert not is_logged(first, monitoring)
    assert is_logged(second, monitoring)
    assert monitoring.stop(CALL, nobody.pid).value == 0
    for actor in (nobody, first, second):
        assert not is_logged(actor, monitoring)


# ---- the status file ----


def test_status_is_for_root_alone(monitoring: Interceptor, guest: Guest) -> None:
    assert monitoring.interface.status
    assert guest.run(["cat", monitoring.interface.status], user="nobody").status != 0
    assert guest.run(["cat", monitoring.interface.status]).status == 0


def test_status_follows_each_command(monitoring: Interceptor, root: Actor, nobody: Actor) -> None:
    start, stop, one, two = Command.START, Command.STOP, root.pid, nobody.pid
    # The command, its pid, and what the status file says afterwards.
    steps: list[tuple[Command, int, str, set[int]]] = [
        (start, one, "listed", {one}),
        (start, two, "listed", {one, two}),
        (stop, one, "listed", {two}),
        (start, 0, "everybody", set()),
        (stop, two, "everybody-except", {two}),
        (stop, one, "everybody-except", {one, two}),
        (start, one, "everybody-except", {two}),
        (start, two, "everybody", set()),
        (stop, two, "everybody-except", {two}),
        (start, 0, "everybody", set()),
        (stop, two, "everybody-except", {two}),
        (stop, 0, "listed", set()),
        (start, two, "listed", {two}),
        (start, 0, "everybody", set()),
        (stop, one, "everybody-except", {one}),
    ]
    call = monitoring.guest.syscalls.ref(CALL)
    for number, (command, pid, mode, pids) in enumerate(steps):
        assert monitoring.command(command, CALL, pid).value == 0, number
        assert state(monitoring) == Intercepted(call, mode, frozenset(pids)), number
    assert monitoring.release(CALL).value == 0
    assert call not in monitoring.status()
    assert monitoring.intercept(CALL).value == 0
    assert state(monitoring) == Intercepted(call, "listed", frozenset())


def test_status_lists_every_pid(monitoring: Interceptor, guest: Guest) -> None:
    """More than a page of them, on one line."""
    parent = guest.actor("nobody")
    threads = {parent.thread().pid for _ in range(150)}
    for thread in threads:
        assert monitoring.start(CALL, thread).value == 0
    assert state(monitoring).pids == threads
    parent.exit()
    parent.reap()
    assert state(monitoring).pids == frozenset()
