# SPDX-License-Identifier: GPL-2.0
"""The module goes at any time, and leaves the system as it was before."""

import errno
import signal
import time
from collections.abc import Callable
from functools import partial

import pytest

import pyharness
from pyharness import Actor, Guest, Module

A_BYTE = "\x01\0\0\0\0\0\0\0"
A_SECOND = "\x01\0\0\0\0\0\0\0"


def is_asleep(guest: Guest, actor: Actor, number: int) -> bool:
    """Whether it sleeps in the system call of that number."""
    return guest.agent.read(f"/proc/{actor.pid}/syscall").split()[0] == str(number)


class Sleeper:
    """A process that sleeps inside a system call until it's woken."""

    def __init__(self, guest: Guest) -> None:
        self.guest = guest
        self.actor = guest.actor("nobody")
        self.helper = self.actor.thread()

    def read(self) -> Callable[[], object]:
        fd = self.actor.syscall("eventfd2", 0, 0).value
        self.actor.begin("read", fd, "\0" * 8, 8)
        return lambda: self.helper.syscall("write", fd, A_BYTE, 8)

    def poll(self) -> Callable[[], object]:
        fd = self.actor.syscall("eventfd2", 0, 0).value
        wanted = chr(fd) + "\0\0\0" + "\x01\0" + "\0\0"
        self.actor.begin("poll", wanted, 1, -1)
        return lambda: self.helper.syscall("write", fd, A_BYTE, 8)

    def nanosleep(self) -> Callable[[], object]:
        self.actor.begin("nanosleep", "\x03\0\0\0\0\0\0\0", 0)
        return lambda: None

    def wait4(self) -> Callable[[], object]:
        child = self.actor.fork()
        self.actor.begin("wait4", child.pid, 0, 0, 0)
        return child.exit

    def flock(self) -> Callable[[], object]:
        path = f"/tmp/lock-{self.actor.pid}"
        holder = self.guest.actor("root")
        held = holder.syscall("open", path, 0o102, 0o666).value
        assert holder.syscall("flock", held, 2).value == 0
        fd = self.helper.syscall("open", path, 0).value
        self.actor.begin("flock", fd, 2)
        return holder.exit

    def rt_sigtimedwait(self) -> Callable[[], object]:
        usr1 = "\0\x02\0\0\0\0\0\0"
        self.actor.syscall("rt_sigprocmask", 0, usr1, 0, 8)
        self.helper.syscall("rt_sigprocmask", 0, usr1, 0, 8)
        self.actor.begin("rt_sigtimedwait", usr1, 0, 0, 8)
        return lambda: self.actor.kill(signal.SIGUSR1)


SLEEPS = {
    "read": (Sleeper.read, 8),
    "poll": (Sleeper.poll, 1),
    "nanosleep": (Sleeper.nanosleep, 0),
    "wait4": (Sleeper.wait4, None),
    "flock": (Sleeper.flock, 0),
    "rt_sigtimedwait": (Sleeper.rt_sigtimedwait, signal.SIGUSR1),
}


@pytest.mark.parametrize("release", [False, True])
def test_unload_under_sleepers(module: Module, guest: Guest, release: bool) -> None:
    """They sleep inside intercepted calls, logged, while the module goes; then they wake."""
    for call in SLEEPS:
        assert module.intercept(call).value == 0
        assert module.start(call).value == 0
    sleepers = {call: Sleeper(guest) for call in SLEEPS}
    wakers = {call: begin(sleepers[call]) for call, (begin, _) in SLEEPS.items()}
    for call, sleeper in sleepers.items():
        number = guest.syscalls.number(call)
        guest.wait(f"{call} to sleep", partial(is_asleep, guest, sleeper.actor, number))
    if release:
        for call in SLEEPS:
            assert module.release(call).value == 0
    module.unload()
    for call, (_, wanted) in SLEEPS.items():
        wakers[call]()
        result = sleepers[call].actor.finish()
        assert not result.errno, call
        assert result.value > 0 if wanted is None else result.value == wanted, call


def test_unload_with_everything_intercepted(
    module: Module, guest: Guest, nobody: Actor, number_of_syscalls: int
) -> None:
    """Nobody releases it first, and everybody is monitored, for some calls."""
    for number in range(1, number_of_syscalls):
        assert module.intercept(number).value == 0
    for call in ("getpgid", "capget", "sched_rr_get_interval"):
        assert module.start(call).value == 0
        assert module.stop(call, nobody.pid).value == 0
    module.unload()
    mark = guest.log.mark()
    assert nobody.syscall("getpgid", 0).errno == 0
    assert guest.log.calls(mark) == []
    assert guest.actor("nobody").syscall("mkdir", "/tmp", 0).errno == errno.EEXIST


def test_nothing_shows_after_unload(module: Module, guest: Guest, root: Actor) -> None:
    module.unload()
    assert guest.run(["test", "-e", str(module.abi.status)]).status != 0
    assert root.command(module.abi, 99, 1).errno == errno.EINTR
    assert root.command(module.abi, 1, "mkdir").errno == errno.EINTR
    hooked = guest.run(
        "mount -t tracefs none /sys/kernel/tracing 2>/dev/null;"
        " cat /sys/kernel/tracing/enabled_functions /sys/kernel/debug/kprobes/list"
    ).check()
    assert hooked.stdout == ""


@pytest.mark.parametrize("direct", [0, 1])
def test_load_and_unload_again_and_again(bare_guest: Guest, direct: int) -> None:
    ko = bare_guest.build(pyharness.MODULE).ko
    bare_guest.inspect(ko)
    bare_guest.put(ko.read_bytes(), "/root/again.ko")
    done = bare_guest.run(
        f"for i in $(seq 10); do insmod /root/again.ko direct={direct} && rmmod interceptor"
        " || exit 1; done",
        seconds=60,
    )
    assert done.check().stdout == ""


def test_unload_while_commands_pour_in(module: Module, guest: Guest) -> None:
    """Whoever is inside my_syscall() is waited for, and nobody can keep the module from going."""
    hostile = [guest.actor("nobody") for _ in range(3)]
    custom, start = module.abi.custom_syscall, module.abi.commands[pyharness.Command.START]
    for actor in hostile:
        actor.begin(custom, start, 39, actor.pid, repeat=300_000)
    begin = time.monotonic()
    module.unload()
    assert time.monotonic() - begin < guest.limit(10)
    for actor in hostile:
        result = actor.finish(guest.limit(30))
        assert result.errno in (errno.EINVAL, errno.EINTR)
