# SPDX-License-Identifier: GPL-2.0
"""The module goes at any time, and leaves the system as it was before."""

import errno
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import pytest
from arch import AT_FDCWD, first_of, hooked, longs
from grace_periods import expedite
from tasks import is_asleep

from pyharness import Actor, Guest
from pyharness.interceptor import MODULE, Command, Interceptor, Interface
from pyharness.interceptor.rules.slabs import CACHES, held, wait_back

A_BYTE = "\x01\0\0\0\0\0\0\0"


class Sleeper:
    """A process that sleeps inside a system call until it's woken."""

    def __init__(self, guest: Guest) -> None:
        self.guest = guest
        self.actor = guest.actor("nobody")
        self.helper = self.actor.thread()

    def call_of(self, way: str) -> str:
        """The call that it sleeps in that way."""
        return first_of(self.guest, *CALLS.get(way, (way,)))

    def read(self) -> Callable[[], object]:
        fd = self.actor.syscall("eventfd2", 0, 0).value
        self.actor.begin("read", fd, "\0" * 8, 8)
        return lambda: self.helper.syscall("write", fd, A_BYTE, 8)

    def poll(self) -> Callable[[], object]:
        fd = self.actor.syscall("eventfd2", 0, 0).value
        wanted = chr(fd) + "\0\0\0" + "\x01\0" + "\0\0"
        never = (-1,) if self.call_of("poll") == "poll" else (0, 0, 0)
        self.actor.begin(self.call_of("poll"), wanted, 1, *never)
        return lambda: self.helper.syscall("write", fd, A_BYTE, 8)

    def read_a_pipe(self) -> Callable[[], object]:
        self.guest.run(["mkfifo", "-m", "666", path := f"/tmp/fifo-{self.actor.pid}"]).check()
        fd = self.actor.syscall("openat", AT_FDCWD, path, 2).value
        self.actor.begin("read", fd, "\0" * 8, 8)
        return lambda: self.helper.syscall("write", fd, A_BYTE, 8)

    def futex(self) -> Callable[[], object]:
        mmap = first_of(self.guest, "mmap2", "mmap")
        where = self.actor.syscall(mmap, 0, 4096, 3, 0x21, -1, 0).value
        self.actor.begin("futex", where, 0, 0, 0)
        return lambda: self.helper.syscall("futex", where, 1, 1)

    def accept4(self) -> Callable[[], object]:
        address = f"\x01\0/tmp/socket-{self.actor.pid}"
        fd = self.actor.syscall("socket", 1, 1, 0).value
        assert self.actor.syscall("bind", fd, address, len(address)).errno == 0
        assert self.actor.syscall("listen", fd, 1).errno == 0
        self.actor.begin("accept4", fd, 0, 0, 0)
        caller = self.helper.syscall("socket", 1, 1, 0).value
        return lambda: self.helper.syscall("connect", caller, address, len(address))

    def msgrcv(self) -> Callable[[], object]:
        queue = self.actor.syscall("msgget", 0, 0o666).value
        self.actor.begin("msgrcv", queue, "\0" * 16, 8, 0, 0)
        message = longs(self.guest, 1) + "message!"
        return lambda: self.helper.syscall("msgsnd", queue, message, 8, 0)

    def nanosleep(self) -> Callable[[], object]:
        self.actor.begin("nanosleep", longs(self.guest, NANOSLEEP_SECONDS, 0), 0)
        return lambda: None

    def wait4(self) -> Callable[[], object]:
        child = self.actor.fork()
        self.actor.begin("wait4", child.pid, 0, 0, 0)
        return child.exit

    def flock(self) -> Callable[[], object]:
        path = f"/tmp/lock-{self.actor.pid}"
        holder = self.guest.actor("root")
        held = holder.syscall("openat", AT_FDCWD, path, 0o102, 0o666).value
        assert holder.syscall("flock", held, 2).value == 0
        fd = self.helper.syscall("openat", AT_FDCWD, path, 0).value
        self.actor.begin("flock", fd, 2)
        return holder.exit

    def rt_sigtimedwait(self) -> Callable[[], object]:
        usr1 = "\0\x02\0\0\0\0\0\0"
        self.actor.syscall("rt_sigprocmask", 0, usr1, 0, 8)
        self.helper.syscall("rt_sigprocmask", 0, usr1, 0, 8)
        self.actor.begin("rt_sigtimedwait", usr1, 0, 0, 8)
        return lambda: self.actor.kill(signal.SIGUSR1)


# Ways to sleep, in which call each is, and what it returns in the end; None: something above 0.
SLEEPS: list[tuple[Callable[[Sleeper], Callable[[], object]], str, int | None]] = [
    (Sleeper.read, "read", 8),
    (Sleeper.read_a_pipe, "read", 8),
    (Sleeper.poll, "poll", 1),
    (Sleeper.futex, "futex", 0),
    (Sleeper.wait4, "wait4", None),
    (Sleeper.accept4, "accept4", None),
    (Sleeper.flock, "flock", 0),
    (Sleeper.msgrcv, "msgrcv", 8),
    (Sleeper.rt_sigtimedwait, "rt_sigtimedwait", signal.SIGUSR1),
    (Sleeper.nanosleep, "nanosleep", 0),  # the last: nobody can wake it
]
NANOSLEEP_SECONDS = 20  # in which the others are seen to sleep, and the module is unloaded
# The calls that a way has, the best first, where its name is not of every architecture.
CALLS = {"poll": ("poll", "ppoll")}


@contextmanager
def all_cpus_busy(guest: Guest) -> Iterator[None]:
    """Have something else running on each CPU."""
    busy = [guest.actor("nobody") for _ in range(guest.facts.cpus)]
    for actor in busy:
        actor.execute("/bin/sh", "-c", "while :; do :; done")
    yield
    for actor in busy:
        actor.kill(signal.SIGKILL)


@pytest.mark.parametrize("release", [False, True])
def test_unload_under_sleepers(module: Interceptor, guest: Guest, release: bool) -> None:
    """They sleep inside intercepted calls, logged, while the module goes; then they wake."""
    sleepers = [Sleeper(guest) for _ in SLEEPS]
    slept_in = {sleepers[0].call_of(way) for _, way, _ in SLEEPS}
    for call in slept_in:
        assert module.intercept(call).value == 0
        assert module.start(call).value == 0
    wakers = [begin(sleeper) for sleeper, (begin, _, _) in zip(sleepers, SLEEPS, strict=True)]
    for sleeper, (_, call, _) in zip(sleepers, SLEEPS, strict=True):
        inside = partial(is_asleep, guest, sleeper.actor, sleeper.call_of(call))
        guest.wait(f"{call} to sleep", inside)
    with all_cpus_busy(guest):
        if release:
            for call in slept_in:
                assert module.release(call).value == 0
        module.unload()
        for waker, sleeper, (_, call, wanted) in zip(wakers, sleepers, SLEEPS, strict=True):
            waker()
            result = sleeper.actor.finish(guest.limit(2 * NANOSLEEP_SECONDS))
            assert not result.errno, call
            assert result.value > 0 if wanted is None else result.value == wanted, call


def test_unload_with_everything_intercepted(
    module: Interceptor, guest: Guest, nobody: Actor, number_of_syscalls: int
) -> None:
    """Nobody releases it first, and everybody is monitored, for some calls."""
    for number in {*range(number_of_syscalls)} - {module.interface.custom_syscall}:
        assert module.intercept(number).value == 0
    for call in ("getpgid", "capget", "sched_rr_get_interval"):
        assert module.start(call).value == 0
        assert module.stop(call, nobody.pid).value == 0
    begin = guest.clock()
    module.unload()
    assert guest.clock() - begin < guest.limit(30)
    mark = guest.log.mark()
    assert nobody.syscall("getpgid", 0).errno == 0
    assert module.logged(mark) == []
    assert guest.actor("nobody").syscall("mkdirat", AT_FDCWD, "/tmp", 0).errno == errno.EEXIST


def test_nothing_shows_after_unload(module: Interceptor, guest: Guest, root: Actor) -> None:
    module.unload()
    assert guest.run(["test", "-e", str(module.interface.status)]).status != 0
    assert module.command(99, 1, by=root).errno == errno.EINTR
    assert module.command(1, "mkdirat", by=root).errno == errno.EINTR
    assert not {function for function in hooked(guest) if "_sys_" in function}


# Options of the module, and how many times it is loaded with them: 300 times in all.
CYCLES = [
    ("direct=1 log=ring", 38),
    ("direct=0", 38),
    pytest.param("direct=1", 6 * 38, marks=pytest.mark.endurance),
]
LEAST_CYCLES = 10
LISTED = 2  # processes that are monitored in each cycle
STORM = "stress-ng --fork 1 --exec 1 --quiet"


def cycle(guest: Guest, ko: int, options: str) -> None:
    """Load the module, have it hold what it can, with some who die meanwhile, and unload it."""
    root = guest.root
    assert root.syscall("finit_module", ko, options, 0).errno == 0
    module = Interceptor(guest, Interface.load(MODULE, guest.syscalls), "interceptor")
    for call in ("getpgid", "capget"):
        assert module.intercept(call).value == 0
    for child in [root.fork() for _ in range(LISTED)]:
        assert module.start("getpgid", child.pid).value == 0
        if child.pid % 2:
            child.exit()
    assert module.start("capget").value == 0
    assert module.stop("capget", root.pid).value == 0
    assert root.syscall("delete_module", "interceptor\0", 0).errno == 0


@pytest.mark.test_limit(900)
@pytest.mark.parametrize(("options", "cycles"), CYCLES)
def test_load_and_unload_again_and_again(
    bare_guest: Guest, parameters: dict[str, str], *, soak: float, options: str, cycles: int
) -> None:
    """Under a storm of fork, exec and exit; in the end no memory is held for it."""
    guest, cycles = bare_guest, max(round(soak * cycles), LEAST_CYCLES)
    built = guest.build(MODULE)
    guest.inspect(built.ko)
    guest.put(built.ko.read_bytes(), "/root/again.ko")
    before: dict[str, int] = {}
    for number in range(cycles):
        if number == 5:  # what is held for good, from then on, has been made
            guest.dismiss()
            before = held(guest)
        if number % 5 == 0:
            guest.dismiss()
            guest.actor("nobody").execute("/bin/sh", "-c", STORM)
            ko = guest.root.syscall("openat", AT_FDCWD, "/root/again.ko\0", 0).value
        cycle(guest, ko, f"method={parameters['method']} {options}\0")
    guest.dismiss()
    guest.run("pkill -9 stress-ng")
    # Less than one of anything for each cycle, and far less than one for each entry; of memory for
    # each CPU, half a KiB.
    few = dict.fromkeys(CACHES, cycles // 2)
    more = {**few, "Slab": 4096, "Percpu": 16 + cycles // 2, "VmallocUsed": 1024}
    assert not wait_back(guest, before, more=more)


@pytest.mark.realtime
def test_load_and_unload_with_long_grace_periods(
    bare_guest: Guest, parameters: dict[str, str]
) -> None:
    """As the kernel has them: each other test has expedited ones."""
    guest = bare_guest
    guest.put(guest.build(MODULE).ko.read_bytes(), "/root/again.ko")
    ko = guest.root.syscall("openat", AT_FDCWD, "/root/again.ko\0", 0).value
    guest.actor("nobody").execute("/bin/sh", "-c", STORM)
    expedite(guest, yes=False)
    try:
        for _ in range(LEAST_CYCLES):
            cycle(guest, ko, f"method={parameters['method']}\0")
    finally:
        expedite(guest, yes=True)
        guest.run("pkill -9 stress-ng")


def test_unload_while_commands_pour_in(module: Interceptor, guest: Guest) -> None:
    """Whoever is inside my_syscall() is waited for, and nobody can keep the module from going."""
    hostile = [guest.actor("nobody") for _ in range(3)]
    custom, start = (
        module.interface.custom_syscall,
        module.interface.commands[Command.START],
    )
    for actor in hostile:
        actor.begin(custom, start, 39, actor.pid, repeat=10**9)
    begin = guest.clock()
    module.unload()
    assert guest.clock() - begin < guest.limit(10)
    for actor in hostile:
        assert guest.agent.state(actor.pid) == "R"  # not killed by what it ran into
        actor.kill(signal.SIGKILL)
