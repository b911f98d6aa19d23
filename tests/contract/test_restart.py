# SPDX-License-Identifier: GPL-2.0
"""Sleeps that are interrupted are finished by system call 0, which the module has taken."""

import errno
import re
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import pytest
from arch import first_of, longs
from tasks import sleep_through_a_stop, stop_and_continue, uptime, wait_for_state

from pyharness import Actor, Guest, InOut
from pyharness.interceptor import Command, Interceptor

SECONDS = 1
CALL = "mkdirat"


@dataclass(frozen=True)
class Sleep:
    """A sleep.

    Attributes:
        calls: its name, the first that the architecture has.
        args: TIMESPEC, TIMEVAL or MILLISECONDS is where its length stands.
        errno: what it ends with.
    """

    calls: tuple[str, ...]
    args: tuple[int | str, ...]
    errno: int = 0


TIMESPEC, TIMEVAL, MILLISECONDS = "timespec", "timeval", "milliseconds"
SLEEPS = {
    "nanosleep": Sleep(("nanosleep",), (TIMESPEC, 0)),
    "nanosleep with the rest": Sleep(("nanosleep",), (TIMESPEC, TIMESPEC)),
    "clock_nanosleep": Sleep(("clock_nanosleep",), (1, 0, TIMESPEC, 0)),
    "clock_nanosleep with the rest": Sleep(("clock_nanosleep",), (1, 0, TIMESPEC, TIMESPEC)),
    "clock_nanosleep realtime": Sleep(("clock_nanosleep",), (0, 0, TIMESPEC, 0)),
    "poll": Sleep(("poll",), (0, 0, MILLISECONDS)),
    "ppoll": Sleep(("ppoll",), (0, 0, TIMESPEC, 0, 0)),
    "futex": Sleep(("futex",), ("\0" * 8, 0, 0, TIMESPEC, 0, 0), errno.ETIMEDOUT),
    "select": Sleep(("_newselect", "select"), (0, 0, 0, 0, TIMEVAL)),
    "pselect6": Sleep(("pselect6",), (0, 0, 0, 0, TIMESPEC, 0)),
}


# The sleeps of tests/programs/restarts.c, whose registers are awkward, by what their names have.
# A machine has some of them: each is of the first group that fits.
AWKWARD = (
    *("ia32", "time64", "high", "low", "absolute", "alarm", "futex", "poll", "cputime"),
    "nanosleep",
    "",
)


# The groups that an architecture does not have.
ELSEWHERE = {"i386": {"ia32", "high"}, "amd64": {"time64"}, "arm64": {"ia32", "time64", "poll"}}


def awkward_sleeps(guest: Guest, program: str) -> dict[str, list[str]]:
    """The sleeps that the guest has, by group."""
    groups: dict[str, list[str]] = {group: [] for group in AWKWARD}
    for sleep in guest.run([program, "list"]).check().stdout.split():
        groups[next(group for group in AWKWARD if group in sleep)].append(sleep)
    return groups


def nanosleep(guest: Guest, actor: Actor, seconds: int) -> None:
    """Have an actor begin a sleep of so many seconds."""
    actor.begin("nanosleep", longs(guest, seconds, 0), 0)


# Sleeps that are begun together end this far apart, so that each is seen to end.
APART_MS = 300
# How late a sleep may be seen to end, since the results are asked for one after the other.
LATE_SECONDS = 4
# How long the program sleep sleeps: until strace has come and gone, on however busy a host.
PROGRAM_SECONDS = 10


def attach_and_detach(guest: Guest, *actors: Actor) -> None:
    """As a debugger does it: ptrace(PTRACE_ATTACH), wait, ptrace(PTRACE_DETACH)."""
    debugger = guest.actor()
    for actor in actors:
        assert debugger.syscall("ptrace", 16, actor.pid, 0, 0).value == 0
    wait_for_state(guest, "t", actors)
    for actor in actors:
        assert debugger.syscall("ptrace", 17, actor.pid, 0, 0).value == 0


def strace_and_detach(guest: Guest, *actors: Actor) -> None:
    """As a person does it: strace -p, and Ctrl-C."""
    strace = guest.actor()
    pids = [option for actor in actors for option in ("-p", str(actor.pid))]
    strace.execute("/usr/bin/strace", "-o", "/dev/null", *pids)
    traced = f"TracerPid:\t{strace.pid}"
    status = [f"/proc/{actor.pid}/status" for actor in actors]
    guest.wait("strace", lambda: all(traced in guest.agent.read(path) for path in status))
    wait_for_state(guest, "S", actors)
    strace.kill(signal.SIGINT)
    strace.reap()


@dataclass(frozen=True)
class Sleeping:
    """A process in one of SLEEPS.

    Attributes:
        actor: the process.
        end: when the call is to return, by uptime().
        latest: when it has to have returned, by the guest's clock, which stands still while a busy
            host keeps the guest from running.
    """

    actor: Actor
    end: float
    latest: float


def fall_asleep(
    module: Interceptor, calls: dict[str, str], seconds: int, *, monitored: bool
) -> dict[str, Sleeping]:
    """Begin those sleeps, of about that length, each by a process of its own."""
    guest = module.guest
    asleep = {}
    for number, (name, call) in enumerate(calls.items()):
        actor, milliseconds = guest.actor("nobody"), seconds * 1000 + number * APART_MS
        if monitored:
            assert module.start(call, actor.pid).value == 0
        whole, rest = divmod(milliseconds, 1000)
        lengths: dict[int | str, int | str] = {
            TIMESPEC: longs(guest, whole, rest * 1_000_000),
            TIMEVAL: longs(guest, whole, rest * 1000),
            MILLISECONDS: milliseconds,
        }
        length = milliseconds / 1000
        asleep[name] = Sleeping(
            actor, uptime(guest) + length, guest.clock() + length + guest.limit(LATE_SECONDS)
        )
        actor.begin(call, *(lengths.get(arg, arg) for arg in SLEEPS[name].args))
    wait_for_state(guest, "S", [sleeping.actor for sleeping in asleep.values()])
    return asleep


@pytest.mark.variants
@pytest.mark.parametrize("interrupt", [stop_and_continue, attach_and_detach, strace_and_detach])
@pytest.mark.parametrize("monitored", [False, True])
def test_interrupted_sleeps_are_finished(
    module: Interceptor,
    guest: Guest,
    *,
    interrupt: Callable[..., None],
    monitored: bool,
) -> None:
    """Each with the result and the duration that it has without the module.

    Sleeps that ended before they were interrupted twice are begun again, and last longer.
    """
    known = guest.syscalls.numbers.keys()
    calls = {
        name: first_of(guest, *sleep.calls)
        for name, sleep in SLEEPS.items()
        if known & {*sleep.calls}
    }
    with module.intercepted(*{*calls.values()} if monitored else ()):
        for seconds in (SECONDS, 4 * SECONDS, 16 * SECONDS):
            asleep = fall_asleep(module, calls, seconds, monitored=monitored)
            for _ in range(2):
                interrupt(guest, *(sleeping.actor for sleeping in asleep.values()))
            in_time = uptime(guest) < min(sleeping.end for sleeping in asleep.values())
            for name, sleeping in asleep.items():
                result, ended = sleeping.actor.finish(), uptime(guest)
                assert (result.errno, max(result.value, 0)) == (SLEEPS[name].errno, 0), name
                # /proc/uptime has hundredths; the kernel may not wake early.
                assert sleeping.end - 0.02 <= ended, name
                # One that ended before it was interrupted is asked for that much later.
                assert guest.clock() < sleeping.latest or not in_time, name
            if in_time:
                return
    pytest.fail("no sleep was long enough to be interrupted twice")


# By restarts.c: how a sleep is interrupted, and whether that ends it; None: it depends.
WAYS = {
    "stop": False,
    "stop-locked": False,
    "stop-unmapped": False,
    "attach": False,
    "attach-dropped": False,
    "call": None,
    "freeze": False,
    "handler": True,
    "sleeping-handler": True,
    "handler-between": True,
    "sleeping-handler-between": True,
}
UNKNOWN = 99  # a command that there is none of


@dataclass(frozen=True)
class Outcome:
    """What became of a sleep that was interrupted.

    Attributes:
        value: what the call returned, and errno.
        length: how long it was to take, in milliseconds.
        took: how long it took.
    """

    value: int
    errno: int
    length: int
    took: int


@pytest.fixture
def restarts(guest: Guest, compiled: Callable[..., str]) -> Iterator[str]:
    """The program, in a guest in which memory can be mapped at address 0."""
    lowest = guest.agent.read("/proc/sys/vm/mmap_min_addr").strip()
    guest.run(["sysctl", "-q", "-w", "vm.mmap_min_addr=0"]).check()
    yield compiled("restarts")
    if not guest.closed:
        guest.run(["sysctl", "-q", "-w", f"vm.mmap_min_addr={lowest}"]).check()


@pytest.mark.variants
@pytest.mark.test_limit(300)
@pytest.mark.parametrize("group", AWKWARD)
def test_an_awkward_sleep_is_no_command(module: Interceptor, restarts: str, group: str) -> None:
    """Registers that read as a command, of root's, do not carry it out, nor spoil the sleep.

    INTERCEPT would be seen in the status, and any other is an error, as nothing is intercepted.
    """
    guest = module.guest
    sleeps = awkward_sleeps(guest, restarts)[group]
    assert sleeps or group in ELSEWHERE[guest.facts.architecture]
    for sleep in sleeps:
        lines = guest.run([restarts, sleep], seconds=60).check().stdout.splitlines()
        assert module.status() == {}, sleep
        outcomes = [line.split() for line in lines]
        assert [way for way, *_ in outcomes] == list(WAYS), sleep
        # Some ways are of some sleeps, and some are ambiguous.
        interrupted = [outcome for outcome in outcomes if len(outcome) > 1]
        assert len(interrupted) >= len(WAYS) - 3, sleep
        for way, in_time, *numbers in interrupted:
            assert in_time == "1", (sleep, way)
            check(sleep, way, Outcome(*map(int, numbers)))


def check(sleep: str, way: str, outcome: Outcome) -> None:
    """Find a sleep wrong that was interrupted in that way."""
    what = f"{sleep}, {way}: {outcome}"
    # The kernel issues a call again that says when it ends, and the handler ran before that.
    again = "absolute" in sleep
    if WAYS[way] is None:
        assert outcome.errno in (0, errno.EINTR, errno.ETIMEDOUT), what
    elif WAYS[way] and not (again and way.endswith("between")):
        assert outcome.errno == errno.EINTR, what
    else:
        assert outcome.errno == (errno.ETIMEDOUT if "futex" in sleep else 0), what
        assert outcome.took >= outcome.length, what


@pytest.mark.test_limit(300)
def test_a_storm_of_handlers_and_stops(module: Interceptor, restarts: str) -> None:
    """A timer's handler comes between decision and restart now and then: 0 or EINTR, always."""
    said = module.guest.run([restarts, "storm", "20"], seconds=120).check().stdout
    assert module.status() == {}
    assert re.fullmatch(r"\d{2,} sleeps, 0 odd: \n", said), said


@pytest.mark.parametrize("command", [0, 5, UNKNOWN, -1])
def test_an_unknown_command_finishes_no_sleep(
    module: Interceptor, guest: Guest, root: Actor, command: int
) -> None:
    """Of a process whose sleep was interrupted, and has come to its end since."""
    rem = InOut(b"\xff" * 16)
    slept = sleep_through_a_stop(
        guest, root, lambda length: root.begin("nanosleep", longs(guest, length, 0), rem)
    )
    begin = guest.clock()
    assert module.command(command, CALL, root.pid, by=root).errno == errno.EINVAL
    assert module.command(command, 0, root.pid, by=root).errno == errno.EINVAL
    assert guest.clock() - begin < guest.limit(slept)


@pytest.mark.parametrize("has_slept", [False, True])
def test_a_pid_that_is_an_address_is_ignored(
    module: Interceptor, guest: Guest, root: Actor, nobody: Actor, *, has_slept: bool
) -> None:
    """INTERCEPT and RELEASE take no pid: what a program left in that register may be a pointer."""
    if has_slept:
        for actor in (root, nobody):
            sleep_through_a_stop(guest, actor, partial(nanosleep, guest, actor))
    number = guest.syscalls.number(CALL)

    def command(value: int, actor: Actor) -> int:
        page = "\0" * 64
        return actor.syscall(module.interface.custom_syscall, value, number, page, 0).errno

    intercept, release = (
        module.interface.commands[Command.INTERCEPT],
        module.interface.commands[Command.RELEASE],
    )
    assert command(intercept, nobody) == errno.EPERM
    assert command(intercept, root) == 0
    assert [*module.status()] == [guest.syscalls.ref(CALL)]
    assert command(intercept, root) == errno.EBUSY
    assert command(release, nobody) == errno.EPERM
    assert command(release, root) == 0
    assert module.status() == {}
    assert command(release, root) == errno.EINVAL
    assert command(UNKNOWN, root) == errno.EINVAL


@pytest.mark.parametrize("monitored", [False, True])
def test_the_program_sleep(module: Interceptor, nobody: Actor, *, monitored: bool) -> None:
    """The program itself, stopped, continued, and looked at by strace."""
    guest = module.guest
    known = guest.syscalls.numbers.keys()
    calls = sorted(known & {"clock_nanosleep", "clock_nanosleep_time64"}) * monitored
    with module.intercepted(*calls):
        for call in calls:
            assert module.start(call, nobody.pid).value == 0
        mark = guest.log.mark()
        begin = uptime(guest)
        nobody.execute("/bin/sleep", str(PROGRAM_SECONDS))
        guest.wait(
            "the sleep", lambda: "nanosleep" in guest.agent.read(f"/proc/{nobody.pid}/stack")
        )
        stop_and_continue(guest, nobody)
        strace_and_detach(guest, nobody)
        stop_and_continue(guest, nobody)
        assert nobody.reap() == 0
        assert PROGRAM_SECONDS - 0.02 <= uptime(guest) - begin < 2 * PROGRAM_SECONDS
        # Its restarts are the kernel's, and are not logged: it was called once.
        assert [call.pid for call in module.logged(mark)] == [nobody.pid] * monitored


def test_commands_work_for_who_slept_before(module: Interceptor, guest: Guest, root: Actor) -> None:
    """The kernel forgets to say that a sleep is over: the registers must tell."""
    sleep_through_a_stop(guest, root, partial(nanosleep, guest, root))
    assert module.intercept("mkdirat", by=root).value == 0
    assert module.start("mkdirat", root.pid, by=root).value == 0
    assert module.start("mkdirat", root.pid, by=root).errno == errno.EBUSY
    assert module.stop("mkdirat", root.pid, by=root).value == 0
    assert module.release("mkdirat", by=root).value == 0


@pytest.mark.architecture("amd64", "arm64")
def test_a_command_about_number_0_is_no_sleep(
    module: Interceptor, guest: Guest, root: Actor
) -> None:
    """Though clock_nanosleep(1, 0, ...) has the same registers, as far as a command has any.

    Where commands are number 0 themselves, there is no command about that number.
    """
    sleep_through_a_stop(
        guest, root, lambda length: root.begin("clock_nanosleep", 1, 0, longs(guest, length, 0), 0)
    )
    assert module.intercept(0, by=root).value == 0
    assert module.start(0, root.pid, by=root).value == 0
    assert module.release(0, by=root).value == 0


def test_a_call_that_the_kernel_issues_again_is_logged_again(
    module: Interceptor, nobody: Actor
) -> None:
    """One that was interrupted and has no restart function (ERESTARTSYS) is carried out twice."""
    guest = module.guest
    child = nobody.fork()
    with module.intercepted("wait4"):
        assert module.start("wait4", nobody.pid).value == 0
        mark = guest.log.mark()
        nobody.begin("wait4", child.pid, 0, 0, 0)
        wait_for_state(guest, "S", [nobody])
        stop_and_continue(guest, nobody)
        guest.wait("the wait again", lambda: len(module.logged(mark)) == 2)
        child.exit()
        assert nobody.finish().value == child.pid
        assert [call.pid for call in module.logged(mark)] == [nobody.pid] * 2
