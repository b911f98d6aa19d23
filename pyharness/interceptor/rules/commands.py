# SPDX-License-Identifier: GPL-2.0
"""The rules about the four commands: what they do, and the error for each wrong use."""

import errno
from collections.abc import Iterable

from pyharness.guest.actor import Actor
from pyharness.interceptor.interface import Command
from pyharness.interceptor.rules.rule import Rules
from pyharness.interceptor.rules.trial import CALL, Trial
from pyharness.linux.syscalls import INT_LEAST, INT_MOST

RULES = Rules()
_NO_COMMANDS = (0, 5, 99, -1, INT_MOST, INT_LEAST)
# A pid that no process has: 32-bit kernels have lower ones, and the guest's pid_max is lower.
NO_PID = 4194303
_NO_PIDS = (-1, INT_LEAST, INT_MOST, NO_PID)
_OF_CALLS = (Command.INTERCEPT, Command.RELEASE)
_OF_PROCESSES = (Command.START, Command.STOP)
_AT_FDCWD = -100


def _users(trial: Trial) -> Iterable[tuple[str, Actor]]:
    """Yield a process of root's and one of nobody's, with the user's name."""
    for user in ("root", "nobody"):
        yield user, trial.actor(user)


@RULES.rule("intercept-release", 4, "takes-commands")
def intercept_release(trial: Trial) -> None:
    """REQUEST_SYSCALL_INTERCEPT intercepts a call, and REQUEST_SYSCALL_RELEASE undoes that."""
    for _ in range(3):
        for call in (CALL, "getpgid", "umask"):
            trial.order(Command.INTERCEPT, call)
        for call in ("getpgid", CALL, "umask"):
            trial.order(Command.RELEASE, call)
    for pid in (-1, 1, INT_MOST, INT_LEAST):  # the pid is not looked at
        trial.order(Command.INTERCEPT, CALL, pid)
        trial.order(Command.RELEASE, CALL, pid)


@RULES.rule("results-unchanged", 4, "start-stop")
def results_unchanged(trial: Trial) -> None:
    """An intercepted call does and returns the same as before, monitored or not."""
    root = trial.actor()
    calls: list[tuple[str, tuple[int | str, ...]]] = [
        ("mkdirat", (_AT_FDCWD, "/tmp", 0o755)),
        ("getpgid", (0,)),
        ("kill", (root.pid, 0)),
        ("kill", (-INT_MOST, 0)),
        ("close", (-1,)),
        ("faccessat", (_AT_FDCWD, "/root", 4)),
        ("faccessat", (_AT_FDCWD, "/no such file", 4)),
        ("umask", (0o22,)),
        ("lseek", (0, trial.random.getrandbits(20), 7)),
    ]
    names = sorted({call for call, _ in calls})
    before = [trial.call(root, call, *args) for call, args in calls]

    def compare(state: str) -> None:
        for (call, args), wanted in zip(calls, before, strict=True):
            came = trial.call(root, call, *args)
            if (came.value, came.errno) != (wanted.value, wanted.errno):
                trial.fail(f"{call}{args}, {state}", came, wanted)
        trial.note(f"{', '.join(names)}, {state}: as before")

    for name in names:
        trial.order(Command.INTERCEPT, name)
    compare("intercepted")
    for name in names:
        trial.order(Command.START, name, root.pid)
    compare("monitored")
    for name in names:
        trial.order(Command.RELEASE, name)
    compare("released")


# ---- numbers that are out of range ----


@RULES.rule("unknown-command", 2, "takes-commands")
def unknown_command(trial: Trial) -> None:
    """A command that is none of the four returns -EINVAL, for everybody."""
    for user, actor in _users(trial):
        for command in _NO_COMMANDS:
            trial.order(command, CALL, actor.pid, by=actor, wanted=errno.EINVAL, user=user)


@RULES.rule("number-range", 3, "takes-commands")
def number_range(trial: Trial) -> None:
    """Each command returns -EINVAL if the number of the call is negative or too large."""
    most = trial.kernel.number_of_syscalls
    numbers = (-1, INT_LEAST, INT_MOST, most + 1, most + trial.random.randrange(2, 1 << 20))
    for user, actor in _users(trial):
        for command in Command:
            for number in (*numbers, -trial.random.randrange(2, 1 << 20)):
                trial.order(command, number, actor.pid, by=actor, wanted=errno.EINVAL, user=user)


@RULES.rule("number-last", 1, "intercept-release", "number-range")
def number_last(trial: Trial) -> None:
    """The last number, NR_syscalls - 1, can be intercepted; NR_syscalls returns -EINVAL."""
    most = trial.kernel.number_of_syscalls
    trial.order(Command.INTERCEPT, most - 1)
    trial.order(Command.RELEASE, most - 1)
    wanted: tuple[int, ...] = (errno.EINVAL,)
    if trial.scheme.reading("number-of-syscalls") == "either":
        wanted = (errno.EINVAL, 0)
    if not trial.order(Command.INTERCEPT, most, wanted=wanted):
        trial.order(Command.RELEASE, most)


@RULES.rule("number-custom", 2, "takes-commands")
def number_custom(trial: Trial) -> None:
    """Each command about MY_CUSTOM_SYSCALL itself returns -EINVAL."""
    custom = trial.subject.interface.custom_syscall
    for user, actor in _users(trial):
        for command in Command:
            trial.order(command, custom, actor.pid, by=actor, wanted=errno.EINVAL, user=user)


@RULES.rule("pid-range", 3, "intercept-release")
def pid_range(trial: Trial) -> None:
    """REQUEST_START_MONITORING and REQUEST_STOP_MONITORING of an unused pid return -EINVAL."""
    trial.intercept()
    for user, actor in _users(trial):
        for command in _OF_PROCESSES:
            for pid in _NO_PIDS:
                trial.order(command, CALL, pid, by=actor, wanted=errno.EINVAL, user=user)


# ---- permission ----


@RULES.rule("root-only", 3, "release-twice")
def root_only(trial: Trial) -> None:
    """Only root intercepts and releases; others get -EPERM, and nothing changes."""
    nobody = trial.actor("nobody")
    for command in _OF_CALLS:
        trial.order(command, by=nobody, wanted=errno.EPERM, user="nobody")
    trial.order(Command.RELEASE, wanted=errno.EINVAL)  # nothing was intercepted
    trial.intercept()
    for command in _OF_CALLS:
        trial.order(command, by=nobody, wanted=errno.EPERM, user="nobody")
    trial.order(Command.RELEASE)  # nothing was released


@RULES.rule("own-only", 3, "start-stop")
def own_only(trial: Trial) -> None:
    """Users other than root monitor only their own processes; anything else returns -EPERM."""
    root, nobody, other = trial.actor(), trial.actor("nobody"), trial.actor("nobody")
    trial.intercept()
    for command in _OF_PROCESSES:
        for pid in (0, 1, root.pid):
            trial.order(command, CALL, pid, by=nobody, wanted=errno.EPERM, user="nobody")
    for pid in (nobody.pid, other.pid):
        for command in _OF_PROCESSES:
            trial.order(command, CALL, pid, by=nobody, user="nobody")
    trial.start(root.pid)
    trial.order(Command.STOP, CALL, root.pid, by=nobody, wanted=errno.EPERM, user="nobody")
    trial.order(Command.STOP, CALL, root.pid)  # it was not stopped
    # Root may do both for anybody.
    trial.order(Command.START, CALL, nobody.pid)
    trial.order(Command.STOP, CALL, nobody.pid, by=nobody, user="nobody")


# ---- the state of a call, and of its list ----


@RULES.rule("intercept-twice", 2, "intercept-release")
def intercept_twice(trial: Trial) -> None:
    """REQUEST_SYSCALL_INTERCEPT of a call that is intercepted already returns -EBUSY."""
    trial.intercept()
    trial.order(Command.INTERCEPT, wanted=errno.EBUSY)
    trial.order(Command.RELEASE)
    trial.intercept()


@RULES.rule("release-twice", 2, "intercept-release")
def release_twice(trial: Trial) -> None:
    """REQUEST_SYSCALL_RELEASE of a call that is not intercepted returns -EINVAL."""
    trial.order(Command.RELEASE, wanted=errno.EINVAL)
    trial.intercept()
    trial.order(Command.RELEASE, "getpgid", wanted=errno.EINVAL)
    trial.order(Command.RELEASE)
    trial.order(Command.RELEASE, wanted=errno.EINVAL)


@RULES.rule("start-stop", 3, "intercept-release")
def start_stop(trial: Trial) -> None:
    """REQUEST_START_MONITORING monitors a process, and REQUEST_STOP_MONITORING undoes that."""
    actor = trial.actor()
    trial.intercept()
    for _ in range(3):
        for command in _OF_PROCESSES:
            trial.order(command, CALL, actor.pid)


@RULES.rule("not-intercepted", 2, "intercept-release")
def not_intercepted(trial: Trial) -> None:
    """Starting or stopping the monitoring of a call that is not intercepted returns -EINVAL."""
    actor = trial.actor()

    def neither() -> None:
        for command in _OF_PROCESSES:
            for pid in (actor.pid, 0):
                trial.order(command, CALL, pid, wanted=errno.EINVAL)

    neither()
    trial.intercept()
    trial.order(Command.RELEASE)
    neither()


@RULES.rule("start-twice", 2, "start-stop")
def start_twice(trial: Trial) -> None:
    """REQUEST_START_MONITORING of a process that is monitored already returns -EBUSY."""
    first, second = trial.actor(), trial.actor("nobody")
    trial.intercept()
    for actor in (first, second):
        trial.start(actor.pid)
    for actor in (second, first):
        trial.order(Command.START, CALL, actor.pid, wanted=errno.EBUSY)


@RULES.rule("stop-unmonitored", 2, "start-stop")
def stop_unmonitored(trial: Trial) -> None:
    """REQUEST_STOP_MONITORING of a process that is not monitored returns -EINVAL."""
    actor, other = trial.actor(), trial.actor()
    trial.intercept()
    trial.order(Command.STOP, CALL, actor.pid, wanted=errno.EINVAL)
    trial.start(other.pid)
    trial.order(Command.STOP, CALL, actor.pid, wanted=errno.EINVAL)
    trial.start(actor.pid)
    trial.order(Command.STOP, CALL, actor.pid)
    trial.order(Command.STOP, CALL, actor.pid, wanted=errno.EINVAL)


# ---- which error comes first ----


@RULES.rule(
    "error-order", 3, "unknown-command", "number-range", "pid-range", "root-only", "own-only",
    "start-twice", "stop-unmonitored",
)  # fmt: skip
def error_order(trial: Trial) -> None:
    """If two errors apply, the first check decides: numbers, then permission, then the state."""
    root, nobody = trial.actor(), trial.actor("nobody")

    def by_nobody(command: Command | int, call: str | int, pid: int, wanted: int) -> None:
        trial.order(command, call, pid, by=nobody, wanted=wanted, user="nobody")

    for command in _OF_CALLS:
        by_nobody(command, -1, 0, errno.EINVAL)  # not -EPERM
    for command in _OF_PROCESSES:
        by_nobody(command, CALL, NO_PID, errno.EINVAL)
        by_nobody(command, CALL, root.pid, errno.EPERM)  # not intercepted
        by_nobody(command, -1, root.pid, errno.EINVAL)
    by_nobody(Command.RELEASE, CALL, 0, errno.EPERM)
    trial.intercept()
    by_nobody(Command.INTERCEPT, CALL, 0, errno.EPERM)  # not -EBUSY
    by_nobody(Command.STOP, CALL, root.pid, errno.EPERM)  # not monitored
    trial.start(root.pid)
    by_nobody(Command.START, CALL, root.pid, errno.EPERM)  # monitored already
