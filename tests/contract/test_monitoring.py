# SPDX-License-Identifier: GPL-2.0
"""Start and stop monitoring: every check, who is logged, and the log line to the letter.

The second of the two testers that the handout speaks of, and what it leaves out.
"""

import errno
import random
from collections.abc import Iterator

import pytest
from arch import longs

from pyharness import Actor, Guest
from pyharness.interceptor import Command, Intercepted, Interceptor

INT_MAX = 0x7FFFFFFF
INT_MIN = -0x80000000
NO_PID = 4194303  # above any pid_max of a 32-bit kernel
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


# ---- the checks, in their order ----


@pytest.mark.parametrize("command", [Command.START, Command.STOP])
@pytest.mark.parametrize("user", ["root", "nobody"])
@pytest.mark.parametrize("pid", [-1, INT_MIN, INT_MAX, NO_PID])
def test_no_such_process_is_invalid(
    monitoring: Interceptor, guest: Guest, command: Command, user: str, pid: int
) -> None:
    actor = guest.actor(user)
    assert monitoring.command(command, CALL, pid, by=actor).errno == errno.EINVAL


@pytest.mark.parametrize("command", [Command.START, Command.STOP])
def test_no_such_process_comes_before_permission(
    module: Interceptor, nobody: Actor, command: Command
) -> None:
    assert module.command(command, CALL, NO_PID, by=nobody).errno == errno.EINVAL


@pytest.mark.parametrize("command", [Command.START, Command.STOP])
@pytest.mark.parametrize("intercepted", [False, True])
def test_nobody_may_not_ask_for_others(
    module: Interceptor, root: Actor, nobody: Actor, command: Command, intercepted: bool
) -> None:
    """Permission comes before the state of the call and of its list."""
    if intercepted:
        assert module.intercept(CALL).value == 0
        assert module.start(CALL, root.pid).value == 0
    for pid in (0, 1, root.pid):
        assert module.command(command, CALL, pid, by=nobody).errno == errno.EPERM
    if intercepted:
        assert state(module).pids == {root.pid}


@pytest.mark.parametrize("command", [Command.START, Command.STOP])
@pytest.mark.parametrize("user", ["root", "nobody"])
def test_call_that_is_not_intercepted_is_invalid(
    module: Interceptor, guest: Guest, command: Command, user: str
) -> None:
    actor = guest.actor(user)
    assert module.command(command, CALL, actor.pid, by=actor).errno == errno.EINVAL
    if user == "root":
        assert module.command(command, CALL, 0, by=actor).errno == errno.EINVAL


@pytest.mark.parametrize("user", ["root", "nobody"])
def test_start_and_stop_of_ones_own(monitoring: Interceptor, guest: Guest, user: str) -> None:
    actor, second = guest.actor(user), guest.actor(user)
    assert monitoring.stop(CALL, actor.pid, by=actor).errno == errno.EINVAL
    assert monitoring.start(CALL, actor.pid, by=actor).value == 0
    assert monitoring.start(CALL, actor.pid, by=second).errno == errno.EBUSY
    assert is_logged(actor, monitoring)
    assert not is_logged(second, monitoring)
    assert monitoring.stop(CALL, actor.pid, by=second).value == 0
    assert not is_logged(actor, monitoring)
    assert monitoring.stop(CALL, actor.pid, by=actor).errno == errno.EINVAL


def test_root_asks_for_anybody(monitoring: Interceptor, root: Actor, nobody: Actor) -> None:
    assert monitoring.start(CALL, nobody.pid, by=root).value == 0
    assert is_logged(nobody, monitoring)
    assert monitoring.stop(CALL, nobody.pid, by=nobody).value == 0
    assert not is_logged(nobody, monitoring)


def test_calls_are_monitored_each_for_itself(module: Interceptor, root: Actor) -> None:
    with module.intercepted(CALL, "getpgid"):
        assert module.start(CALL, root.pid).value == 0
        mark = module.guest.log.mark()
        root.syscall("getpgid", 0)
        assert module.logged(mark) == []
        assert is_logged(root, module)
        assert module.start("getpgid", root.pid).value == 0
        assert module.stop(CALL, root.pid).value == 0
        mark = module.guest.log.mark()
        root.syscall("getpgid", 0)
        assert len(module.logged(mark)) == 1
        assert not is_logged(root, module)


# ---- everybody, and everybody except some ----


def test_everybody(monitoring: Interceptor, root: Actor, nobody: Actor, guest: Guest) -> None:
    assert monitoring.stop(CALL).errno == errno.EINVAL
    assert monitoring.start(CALL).value == 0
    assert state(monitoring).mode == "everybody"
    assert monitoring.start(CALL).errno == errno.EBUSY
    assert is_logged(root, monitoring)
    assert is_logged(nobody, monitoring)
    assert is_logged(guest.actor("nobody"), monitoring)
    assert monitoring.start(CALL, root.pid).errno == errno.EBUSY
    assert monitoring.stop(CALL).value == 0
    assert state(monitoring).mode == "listed"
    assert not is_logged(root, monitoring)
    assert monitoring.stop(CALL).errno == errno.EINVAL


def test_everybody_except(
    monitoring: Interceptor, root: Actor, nobody: Actor, guest: Guest
) -> None:
    assert monitoring.start(CALL).value == 0
    assert monitoring.stop(CALL, nobody.pid, by=nobody).value == 0
    assert state(monitoring) == Intercepted(
        guest.syscalls.ref(CALL), "everybody-except", frozenset({nobody.pid})
    )
    assert monitoring.stop(CALL, nobody.pid).errno == errno.EINVAL
    assert not is_logged(nobody, monitoring)
    assert is_logged(root, monitoring)
    born_later = guest.actor("nobody")
    assert is_logged(born_later, monitoring)
    assert is_logged(nobody.fork(), monitoring)
    assert monitoring.start(CALL, nobody.pid, by=nobody).value == 0
    assert state(monitoring).mode == "everybody"
    assert monitoring.start(CALL, nobody.pid).errno == errno.EBUSY
    assert is_logged(nobody, monitoring)


def test_start_of_everybody_takes_all_back_in(
    monitoring: Interceptor, root: Actor, nobody: Actor
) -> None:
    assert monitoring.start(CALL).value == 0
    for actor in (root, nobody):
        assert monitoring.stop(CALL, actor.pid).value == 0
    assert state(monitoring).pids == {root.pid, nobody.pid}
    assert monitoring.start(CALL).value == 0
    assert state(monitoring).mode == "everybody"
    assert is_logged(root, monitoring)
    assert is_logged(nobody, monitoring)
    assert monitoring.start(CALL).errno == errno.EBUSY


def test_everybody_takes_over_from_a_list(
    monitoring: Interceptor, root: Actor, nobody: Actor
) -> None:
    """Who was listed is not one of those taken out, and the list is gone afterwards."""
    assert monitoring.start(CALL, root.pid).value == 0
    assert monitoring.start(CALL).value == 0
    assert (state(monitoring).mode, state(monitoring).pids) == ("everybody", frozenset())
    assert is_logged(root, monitoring)
    assert is_logged(nobody, monitoring)
    assert monitoring.stop(CALL).value == 0
    assert state(monitoring).pids == frozenset()
    assert not is_logged(root, monitoring)


def test_stop_of_everybody_forgets_who_was_taken_out(
    monitoring: Interceptor, root: Actor, nobody: Actor
) -> None:
    assert monitoring.start(CALL).value == 0
    assert monitoring.stop(CALL, nobody.pid).value == 0
    assert monitoring.stop(CALL).value == 0
    assert (state(monitoring).mode, state(monitoring).pids) == ("listed", frozenset())
    assert monitoring.start(CALL, nobody.pid).value == 0
    assert is_logged(nobody, monitoring)
    assert not is_logged(root, monitoring)
    assert monitoring.start(CALL).value == 0
    assert state(monitoring).mode == "everybody"
    assert is_logged(nobody, monitoring)


def test_release_ends_everybody(monitoring: Interceptor, root: Actor) -> None:
    assert monitoring.start(CALL).value == 0
    assert monitoring.stop(CALL, root.pid).value == 0
    assert monitoring.release(CALL).value == 0
    assert not is_logged(root, monitoring)
    assert monitoring.intercept(CALL).value == 0
    assert (state(monitoring).mode, state(monitoring).pids) == ("listed", frozenset())
    assert not is_logged(root, monitoring)
    assert monitoring.start(CALL).value == 0
    assert state(monitoring).mode == "everybody"
    assert is_logged(root, monitoring)


# ---- the log line ----


@pytest.mark.parametrize("seed", range(20))
def test_log_line_to_the_letter(monitoring: Interceptor, root: Actor, seed: int) -> None:
    chosen = random.Random(seed)
    # 0 is nobody's address to write to, so that the call changes nothing.
    bits = 8 * monitoring.guest.syscalls.bytes_of_long
    args = [chosen.getrandbits(chosen.choice((1, 8, bits))) for _ in range(6)]
    args[1] = chosen.choice((0, (1 << bits) - 4096))
    assert monitoring.start(CALL, root.pid).value == 0
    mark = monitoring.guest.log.mark()
    root.syscall(CALL, *args)
    number = monitoring.guest.syscalls.number(CALL)
    (record,) = monitoring.guest.log.since(mark)
    assert record.text == f"[{root.pid:x}]{number:x}({','.join(f'{arg:x}' for arg in args)})"
    assert record.level == 7


def test_logged_before_it_is_carried_out(module: Interceptor, nobody: Actor) -> None:
    """A call that lasts is in the log while it still lasts."""
    a_second = longs(module.guest, 1, 0)
    with module.intercepted("nanosleep"):
        assert module.start("nanosleep", nobody.pid).value == 0
        mark = module.guest.log.mark()
        nobody.begin("nanosleep", a_second, 0)
        module.guest.wait("the line of a call", lambda: module.logged(mark))
        asleep = module.guest.agent.read(f"/proc/{nobody.pid}/syscall")
        assert asleep.split()[0] == str(module.guest.syscalls.number("nanosleep"))
        assert nobody.finish().value == 0


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
