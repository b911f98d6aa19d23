# SPDX-License-Identifier: GPL-2.0
"""A kernel for amd64 has two ABIs: a monitored process is seen in both, each with its numbers."""

import errno
from collections.abc import Callable

import pytest
from tasks import sleep_through_a_stop

from pyharness import Actor, Guest
from pyharness.interceptor import Intercepted, Interceptor
from pyharness.linux.syscalls import Syscalls

I386 = Syscalls("i386")
CALL = "sched_rr_get_interval"
ONLY_THERE = "mmap2"
X32 = 0x40000000

pytestmark = pytest.mark.architecture("amd64")


def lines(module: Interceptor, mark: int) -> list[tuple[int, str]]:
    return [(call.pid, str(call.syscall)) for call in module.logged(mark)]


@pytest.mark.parametrize("call", [CALL, "getpgid", "futex", "nanosleep", "exit_group"])
def test_a_call_does_not_escape_by_the_other_abi(
    module: Interceptor, guest: Guest, nobody: Actor, root: Actor, call: str
) -> None:
    """It is logged with the number that it was issued by, a mark, and its 32-bit arguments."""
    child = root.fork()
    with module.intercepted(call):
        assert module.start(call, child.pid).value == 0
        mark = guest.log.mark()
        if call == "exit_group":
            with pytest.raises(Exception, match="gone"):
                child.syscall(f"i386:{call}", 0)
        else:
            child.syscall(f"i386:{call}", 0x7FFFFFFF, 0xFFFFF000)
            child.syscall(call, 0x7FFFFFFF, 0xFFFFF000)
            nobody.syscall(f"i386:{call}", 0x7FFFFFFF, 0xFFFFF000)
        found = module.logged(mark)
    wanted = [guest.syscalls.ref(f"i386:{call}"), guest.syscalls.ref(call)]
    assert [c.syscall for c in found] == wanted[: 1 + (call != "exit_group")]
    assert {c.pid for c in found} == {child.pid}
    if call != "exit_group":
        assert found[0].args[:2] == (0x7FFFFFFF, 0xFFFFF000)
        assert found[0].record.text.endswith(" i386")


def test_release_restores_both_abis(module: Interceptor, nobody: Actor) -> None:
    assert module.intercept(CALL).value == 0
    assert module.start(CALL, nobody.pid).value == 0
    assert module.release(CALL).value == 0
    mark = module.guest.log.mark()
    assert nobody.syscall(f"i386:{CALL}", 0x7FFFFFFF, 0).errno == errno.ESRCH
    assert lines(module, mark) == []
    module.unload()  # what was not restored would now lead nowhere
    for abi in ("", "i386:"):
        assert nobody.syscall(f"{abi}{CALL}", 0x7FFFFFFF, 0).errno == errno.ESRCH


def test_commands_by_the_other_abi(module: Interceptor, nobody: Actor, root: Actor) -> None:
    """With i386's numbers; the call is the same one."""
    there = f"i386:{CALL}"
    native = module.guest.syscalls.ref(CALL)
    assert module.intercept(there, by=nobody).errno == errno.EPERM
    assert module.intercept(there, by=root).value == 0
    assert module.intercept(CALL).errno == errno.EBUSY
    assert module.start(there, nobody.pid, by=nobody).value == 0
    assert module.status() == {native: Intercepted(native, "listed", frozenset({nobody.pid}))}
    mark = module.guest.log.mark()
    nobody.syscall(CALL, 0x7FFFFFFF, 0)
    assert lines(module, mark) == [(nobody.pid, CALL)]
    assert module.stop(CALL, nobody.pid).value == 0
    assert module.stop(there, nobody.pid, by=nobody).errno == errno.EINVAL
    assert module.release(there, by=root).value == 0
    assert module.release(CALL).errno == errno.EINVAL


@pytest.mark.parametrize("number", [0, -1, 0x7FFFFFFF, 500])
def test_no_such_number_by_the_other_abi(module: Interceptor, root: Actor, number: int) -> None:
    assert module.intercept(f"i386:{number}", by=root).errno == errno.EINVAL


def test_a_call_that_only_the_other_abi_has(
    module: Interceptor, nobody: Actor, root: Actor
) -> None:
    there = f"i386:{ONLY_THERE}"
    number = I386.number(ONLY_THERE)
    known = module.guest.syscalls.ref(there)
    assert module.intercept(there, by=root).value == 0
    assert module.start(there, nobody.pid, by=nobody).value == 0
    assert module.status() == {known: Intercepted(known, "listed", frozenset({nobody.pid}))}
    mark = module.guest.log.mark()
    nobody.syscall(there, 0, 0, 0, 0, -1, 0)
    nobody.syscall(number, -1, 0)  # another call by the native ABI
    assert lines(module, mark) == [(nobody.pid, there)]
    assert module.release(there, by=root).value == 0


@pytest.mark.parametrize("monitored", ["getuid", "i386:getuid32"])
@pytest.mark.parametrize("first", ["getuid", "i386:getuid32"])
def test_two_calls_that_one_function_serves(
    module: Interceptor, nobody: Actor, root: Actor, first: str, monitored: str
) -> None:
    """Two calls, getuid and i386's getuid32, are one function under two names."""
    for call in sorted(("getuid", "i386:getuid32"), key=lambda call: call != first):
        assert module.intercept(call, by=root).value == 0
    assert module.start(monitored, nobody.pid).value == 0
    mark = module.guest.log.mark()
    for call in ("getuid", "i386:getuid32"):
        nobody.syscall(call)
    assert lines(module, mark) == [(nobody.pid, monitored)]
    assert module.release(first, by=root).value == 0


@pytest.mark.test_limit(600)
def test_every_number_of_the_other_abi(module: Interceptor, root: Actor) -> None:
    numbers = range(1, max(I386.names) + 1)
    answers = {n: module.intercept(f"i386:{n}", by=root) for n in numbers}
    # Those beyond what this kernel knows are none.
    assert {a.error for a in answers.values()} <= {"", "EINVAL"}
    taken = [n for n in numbers if not answers[n].errno]
    assert len(taken) > 400
    assert taken == [n for n in numbers if n <= max(taken)]
    assert len(module.status()) == len(taken)
    assert {module.release(f"i386:{n}", by=root).error for n in taken} == {""}
    assert not module.status()


def test_numbers_of_x32_are_refused(module: Interceptor, root: Actor) -> None:
    assert module.intercept(X32 | module.guest.syscalls.number(CALL), by=root).errno == errno.EINVAL


@pytest.mark.parametrize("call", ["nanosleep", "clock_nanosleep", "poll"])
def test_a_sleep_by_the_other_abi_is_finished(
    module: Interceptor, nobody: Actor, call: str
) -> None:
    """It is restarted by number 0 of that ABI, which the module has taken."""

    def begin(seconds: int) -> None:
        timespec = seconds.to_bytes(4, "little") + bytes(4)
        args: dict[str, tuple[int | bytes, ...]] = {
            "nanosleep": (timespec, 0),
            "clock_nanosleep": (1, 0, timespec, 0),
            "poll": (0, 0, 1000 * seconds),
        }
        nobody.begin(f"i386:{call}", *args[call])

    sleep_through_a_stop(module.guest, nobody, begin)


def test_a_32_bit_program(module: Interceptor, guest: Guest, compiled: Callable[..., str]) -> None:
    """It issues commands at entry 0 and is monitored, as on i386."""
    program = compiled("compat32", "-m32", "-ffreestanding", "-fno-pic", "-no-pie", "-static",
                       "-nostdlib", "-fno-stack-protector")  # fmt: skip
    number = I386.number(CALL)
    commands: list[list[int | str]] = [[0, 1, number, 0], [0, 1, number, 0], [0, 3, number, "self"],
                [number, 0x7FFFFFFF, 0, 0], [0, 2, number, 0]]  # fmt: skip
    mark = guest.log.mark()
    done = guest.run([program, *(str(word) for command in commands for word in command)]).check()
    assert done.stdout.split() == ["0", str(-errno.EBUSY), "0", str(-errno.ESRCH), "0"]
    assert [str(call.syscall) for call in module.logged(mark)] == [f"i386:{CALL}"]
    assert not module.status()
