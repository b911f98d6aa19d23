# SPDX-License-Identifier: GPL-2.0
"""Intercept and release: every check, in its order, for root and for nobody.

The first of the two testers that the handout speaks of, and what it leaves out.
"""

import errno

import pytest
from arch import AT_FDCWD

from pyharness import Actor, Guest
from pyharness.interceptor import Command, Interceptor

INT_MAX = 0x7FFFFFFF
INT_MIN = -0x80000000
OUT_OF_RANGE = (-1, INT_MIN, INT_MAX)
NO_COMMANDS = (0, 5, -1, INT_MAX, INT_MIN)
CALL = "mkdirat"
TMP = (AT_FDCWD, "/tmp", 0o755)


@pytest.mark.parametrize("command", NO_COMMANDS)
@pytest.mark.parametrize("user", ["root", "nobody"])
def test_unknown_command_is_invalid(
    module: Interceptor, guest: Guest, command: int, user: str
) -> None:
    actor = guest.actor(user)
    assert module.command(command, CALL, actor.pid, by=actor).errno == errno.EINVAL


@pytest.mark.parametrize("command", list(Command))
@pytest.mark.parametrize("user", ["root", "nobody"])
def test_number_outside_the_table_is_invalid(
    module: Interceptor, guest: Guest, command: Command, user: str, number_of_syscalls: int
) -> None:
    actor = guest.actor(user)
    for number in (*OUT_OF_RANGE, number_of_syscalls):
        result = module.command(command, number, actor.pid, by=actor)
        assert result.errno == errno.EINVAL, number


@pytest.mark.parametrize("command", list(Command))
@pytest.mark.parametrize("user", ["root", "nobody"])
def test_the_custom_call_itself_is_invalid(
    module: Interceptor, guest: Guest, command: Command, user: str
) -> None:
    actor = guest.actor(user)
    result = module.command(command, module.interface.custom_syscall, actor.pid, by=actor)
    assert result.errno == errno.EINVAL


def test_unknown_command_comes_before_everything_else(module: Interceptor, nobody: Actor) -> None:
    assert module.command(99, -1, -1, by=nobody).errno == errno.EINVAL


@pytest.mark.parametrize("command", [Command.INTERCEPT, Command.RELEASE])
def test_only_root_intercepts_and_releases(
    module: Interceptor, nobody: Actor, command: Command
) -> None:
    assert module.command(command, CALL, by=nobody).errno == errno.EPERM
    with module.intercepted(CALL):
        assert module.command(command, CALL, by=nobody).errno == errno.EPERM
        assert module.guest.syscalls.ref(CALL) in module.status()


@pytest.mark.parametrize("command", [Command.INTERCEPT, Command.RELEASE])
@pytest.mark.parametrize("pid", [0, -1, INT_MAX, INT_MIN])
def test_intercept_and_release_ignore_the_pid(
    module: Interceptor, command: Command, pid: int
) -> None:
    if command == Command.RELEASE:
        assert module.intercept(CALL).value == 0
    assert module.command(command, CALL, pid).value == 0


def test_intercept_twice_is_busy(module: Interceptor) -> None:
    assert module.intercept(CALL).value == 0
    assert module.intercept(CALL).errno == errno.EBUSY
    assert module.release(CALL).value == 0
    assert module.intercept(CALL).value == 0


def test_release_of_what_is_not_intercepted_is_invalid(module: Interceptor) -> None:
    assert module.release(CALL).errno == errno.EINVAL
    assert module.intercept(CALL).value == 0
    assert module.release(CALL).value == 0
    assert module.release(CALL).errno == errno.EINVAL


@pytest.mark.test_limit(600)
def test_every_number_is_intercepted_and_released(
    module: Interceptor, number_of_syscalls: int
) -> None:
    """From 1 to NR-1, real calls and numbers that the kernel implements none for."""
    numbers = [n for n in range(number_of_syscalls) if n != module.interface.custom_syscall]
    refused = {n: module.intercept(n).error for n in numbers}
    assert not {n: error for n, error in refused.items() if error}
    assert [call.number for call in module.status()] == numbers
    assert {module.intercept(n).error for n in numbers} == {"EBUSY"}
    assert {n: r.error for n in numbers if (r := module.release(n)).errno} == {}
    assert not module.status()
    assert {module.release(n).error for n in numbers} == {"EINVAL"}


@pytest.mark.parametrize("repeat", range(3))
def test_intercept_again_starts_from_an_empty_list(
    module: Interceptor, root: Actor, repeat: int
) -> None:
    call = module.guest.syscalls.ref(CALL)
    assert module.intercept(CALL).value == 0
    assert module.status()[call].pids == frozenset()
    assert module.start(CALL, root.pid).value == 0
    if repeat:
        assert module.start(CALL).value == 0
        assert module.stop(CALL, root.pid).value == 0
    assert module.release(CALL).value == 0
    assert module.intercept(CALL).value == 0
    state = module.status()[call]
    assert (state.mode, state.pids) == ("listed", frozenset())
    mark = module.guest.log.mark()
    assert root.syscall(CALL, *TMP).errno == errno.EEXIST
    assert module.logged(mark) == []


def test_an_intercepted_call_does_what_it_always_did(module: Interceptor, root: Actor) -> None:
    calls: list[tuple[str, tuple[int | str, ...]]] = [
        (CALL, TMP),
        ("getpgid", (0,)),
        ("kill", (root.pid, 0)),
        ("kill", (-INT_MAX, 0)),
        ("close", (-1,)),
        ("faccessat", (AT_FDCWD, "/root", 4)),
        ("faccessat", (AT_FDCWD, "/no such file", 4)),
        ("umask", (0o22,)),
    ]
    names = sorted({call for call, _ in calls})
    before = [root.syscall(call, *args) for call, args in calls]
    with module.intercepted(*names):
        unmonitored = [root.syscall(call, *args) for call, args in calls]
        for name in names:
            assert module.start(name, root.pid).value == 0
        monitored = [root.syscall(call, *args) for call, args in calls]
    after = [root.syscall(call, *args) for call, args in calls]
    wanted = [(result.value, result.errno) for result in before]
    for results in (unmonitored, monitored, after):
        assert [(result.value, result.errno) for result in results] == wanted


# Numbers between those that are in use, which the kernel has no calls for.
UNUSED = {"i386": (17, 222), "x86_64": (400, 423), "arm64": (244, 259)}


@pytest.mark.parametrize("which", [0, 1])
def test_a_number_without_a_call_is_intercepted_alone(
    module: Interceptor, root: Actor, which: int
) -> None:
    """All of these share one handler in the kernel; only the one that is meant is logged."""
    unused = UNUSED[module.guest.syscalls.architecture]
    number, other = unused[which], unused[1 - which]
    with module.intercepted(number):
        assert module.start(number, root.pid).value == 0
        mark = module.guest.log.mark()
        assert root.syscall(other, 1).errno == errno.ENOSYS
        assert root.syscall(number, 2).errno == errno.ENOSYS
        assert [call.syscall.number for call in module.logged(mark)] == [number]


@pytest.mark.architecture("amd64", "arm64")  # whose registers have more bits than an int
def test_arguments_are_ints_whatever_the_high_bits(module: Interceptor, root: Actor) -> None:
    """A long that does not fit is cut, as C does it."""
    number = module.guest.syscalls.number(CALL)
    custom = module.interface.custom_syscall
    assert root.syscall(custom, 1 | 1 << 32, number | 1 << 33, 0).value == 0
    assert module.release(number).value == 0
