# SPDX-License-Identifier: GPL-2.0
"""The rules about monitoring: which calls are logged, when, and with which text."""

import errno
from collections.abc import Callable

from pyharness.guest.actor import Actor
from pyharness.interceptor.interface import Command
from pyharness.interceptor.rules.rule import Rules
from pyharness.interceptor.rules.trial import CALL, Trial
from pyharness.linux.kmsg import DEBUG

RULES = Rules()
_OTHER = "getpgid"  # getpgid(0) has no effect, and no process of the guest issues it on its own
_LONG_SECONDS = 1000


@RULES.rule("log-line", 6, "start-stop")
def log_line(trial: Trial) -> None:
    """A call by a monitored process is logged once: process, number and six arguments, in hex."""
    actor = trial.actor()
    trial.intercept()
    trial.start(actor.pid)
    number = trial.guest.syscalls.number(CALL)
    bits = 8 * trial.guest.syscalls.bytes_of_long
    for _ in range(10):
        args = [trial.random.getrandbits(trial.random.choice((1, 8, bits))) for _ in range(6)]
        args[1] = trial.random.choice((0, (1 << bits) - 4096))  # where the kernel can't write
        mark = trial.mark()
        trial.call(actor, CALL, *args)
        wanted = f"[{actor.pid:x}]{number:x}({','.join(f'{arg:x}' for arg in args)})"
        came = [text for text in trial.log_text(mark) if text.startswith(f"[{actor.pid:x}]")]
        asked = f"{CALL}({', '.join(map(hex, args))}) by process {actor.pid}"
        if came != [wanted]:
            trial.fail(asked, "\n        ".join(came) or "no line in the kernel log", wanted)
        levels = {record.level for record in trial.guest.log.since(mark) if record.text == wanted}
        if levels != {DEBUG}:
            trial.fail(asked, f"a line of the level {levels.pop()}", f"{DEBUG} (KERN_DEBUG)")
        trial.note(f"{asked}: {wanted}")


@RULES.rule("log-first", 3, "log-line")
def log_first(trial: Trial) -> None:
    """A call is logged before it is carried out."""
    actor = trial.actor("nobody")
    trial.intercept("nanosleep")
    trial.start(actor.pid, "nanosleep")
    mark = trial.mark()
    trial.fall_asleep(actor, _LONG_SECONDS)
    trial.wait(
        f"a line of nanosleep({_LONG_SECONDS} s) by process {actor.pid} while it sleeps",
        lambda: [line for line in trial.lines(mark) if line.pid == actor.pid],
    )


@RULES.rule("only-listed", 3, "log-line")
def only_listed(trial: Trial) -> None:
    """Nothing else is logged: no other process's calls, and no other calls."""
    actor, other, nobody = trial.actor(), trial.actor(), trial.actor("nobody")
    trial.intercept()
    trial.intercept(_OTHER)
    for process in (actor, other, nobody):
        trial.expect_unlogged(process, "nobody is monitored")
    trial.start(actor.pid)
    for process in (other, nobody, trial.actor("nobody")):
        trial.expect_unlogged(process, f"process {actor.pid} alone is monitored")
    trial.expect_unlogged(actor, f"{CALL} alone is monitored", _OTHER)
    trial.expect_unlogged(actor.fork(), "the child of a monitored process is another process")
    trial.expect_logged(actor, "it is monitored")


@RULES.rule("stop-ends", 2, "log-line")
def stop_ends(trial: Trial) -> None:
    """After REQUEST_STOP_MONITORING, calls are not logged."""
    actor = trial.actor()
    trial.intercept()
    for _ in range(2):
        trial.start(actor.pid)
        trial.expect_logged(actor, "it is monitored")
        trial.order(Command.STOP, CALL, actor.pid)
        trial.expect_unlogged(actor, "its monitoring was stopped")


@RULES.rule("several-pids", 3, "log-line", "stop-ends")
def several_pids(trial: Trial) -> None:
    """Several processes are monitored for one call, each started and stopped separately."""
    actors = [trial.actor(user) for user in ("root", "nobody", "root", "nobody")]
    trial.intercept()
    listed: set[int] = set()

    def compare() -> None:
        for actor in actors:
            check = trial.expect_logged if actor.pid in listed else trial.expect_unlogged
            check(actor, f"the monitored processes are {sorted(listed)}")

    order = trial.random.sample(range(len(actors)), len(actors))
    for place in order:
        trial.start(actors[place].pid)
        listed.add(actors[place].pid)
    compare()
    for place in (order[1], order[3], order[0]):  # one in the middle, the last and the first
        trial.order(Command.STOP, CALL, actors[place].pid)
        listed.discard(actors[place].pid)
        compare()


@RULES.rule("several-calls", 2, "log-line", "stop-ends")
def several_calls(trial: Trial) -> None:
    """A process is monitored for several calls, for each one separately."""
    actor = trial.actor()
    for call in (CALL, _OTHER):
        trial.intercept(call)
    trial.start(actor.pid)
    trial.expect_unlogged(actor, f"only {CALL} is monitored", _OTHER)
    trial.start(actor.pid, _OTHER)
    trial.expect_logged(actor, "both are monitored")
    trial.expect_logged(actor, "both are monitored", _OTHER)
    trial.order(Command.STOP, CALL, actor.pid)
    trial.expect_unlogged(actor, f"{CALL} was stopped")
    trial.order(Command.RELEASE, CALL)
    trial.expect_logged(actor, f"{_OTHER} is still monitored", _OTHER)


@RULES.rule("release-empties", 3, "log-line", "stop-unmonitored")
def release_empties(trial: Trial) -> None:
    """After a call was released and intercepted again, no process is monitored for it."""
    actor, nobody = trial.actor(), trial.actor("nobody")
    for several in (False, True):
        trial.intercept()
        trial.start(actor.pid)
        if several:
            trial.start(nobody.pid)
        trial.order(Command.RELEASE)
        trial.expect_unlogged(actor, f"{CALL} was released")
        trial.intercept()
        trial.expect_unlogged(actor, f"{CALL} was released since")
        trial.order(Command.STOP, CALL, actor.pid, wanted=errno.EINVAL)
        trial.start(nobody.pid)
        trial.order(Command.RELEASE)


# ---- all processes ----


@RULES.rule("all-processes", 4, "log-line", "start-twice", "stop-unmonitored")
def all_processes(trial: Trial) -> None:
    """With pid 0, all processes are monitored, also those that start later."""
    root, nobody = trial.actor(), trial.actor("nobody")
    trial.intercept()
    trial.order(Command.STOP, CALL, 0, wanted=errno.EINVAL)
    trial.start(0)
    for actor in (root, nobody, trial.actor("nobody"), nobody.fork()):
        trial.expect_logged(actor, "all processes are monitored")
    trial.order(Command.START, CALL, 0, wanted=errno.EBUSY)
    trial.order(Command.STOP, CALL, 0)
    for actor in (root, nobody, trial.actor("nobody")):
        trial.expect_unlogged(actor, "monitoring of all processes was stopped")
    trial.start(root.pid)
    trial.expect_logged(root, "it is monitored")
    trial.expect_unlogged(nobody, f"process {root.pid} alone is monitored")
    _stop_all_of_a_list(trial, root)
    trial.order(Command.RELEASE)
    trial.intercept()
    trial.start(0)
    trial.order(Command.RELEASE)
    trial.intercept()
    trial.expect_unlogged(nobody, f"{CALL} was released since")


def _stop_all_of_a_list(trial: Trial, listed: Actor) -> None:
    """STOP 0 while single processes are listed: the handout does not say."""
    wanted = {"refused": (errno.EINVAL,), "accepted": (0,), "either": (errno.EINVAL, 0)}
    reading = trial.scheme.reading("stop-all-of-a-list")
    if trial.order(Command.STOP, CALL, 0, wanted=wanted[reading]):
        trial.expect_logged(listed, "REQUEST_STOP_MONITORING of all was refused")
    else:
        trial.expect_unlogged(listed, "REQUEST_STOP_MONITORING of all has ended it")


@RULES.rule("all-except", 5, "all-processes", bonus=True)
def all_except(trial: Trial) -> None:
    """While all are monitored, single processes can be excluded, and included again."""
    root, nobody = trial.actor(), trial.actor("nobody")
    trial.intercept()
    trial.start(0)
    trial.order(Command.STOP, CALL, nobody.pid, by=nobody, user="nobody")
    trial.expect_unlogged(nobody, "it was taken out")
    trial.expect_logged(root, "only another process was taken out")
    trial.expect_logged(trial.actor("nobody"), "it was born after another was taken out")
    trial.order(Command.STOP, CALL, nobody.pid, wanted=errno.EINVAL)
    trial.start(nobody.pid)
    trial.expect_logged(nobody, "it was taken in again")
    wanted = {"busy": (errno.EBUSY,), "accepted": (0,), "either": (errno.EBUSY, 0)}
    reading = trial.scheme.reading("start-listed-under-all")
    trial.order(Command.START, CALL, nobody.pid, wanted=wanted[reading])
    trial.expect_logged(nobody, "all are monitored")
    for actor in (root, nobody):
        trial.order(Command.STOP, CALL, actor.pid)
    trial.start(0)
    for actor in (root, nobody):
        trial.expect_logged(actor, "all are monitored again")
    trial.order(Command.STOP, CALL, nobody.pid)
    trial.order(Command.STOP, CALL, 0)
    _nobody_is_monitored(trial, (root, nobody))
    trial.start(nobody.pid)
    trial.expect_logged(nobody, "it alone is monitored")
    trial.expect_unlogged(root, f"process {nobody.pid} alone is monitored")


def _nobody_is_monitored(trial: Trial, actors: tuple[Actor, ...]) -> None:
    check: Callable[[Actor, str], None] = trial.expect_unlogged
    for actor in actors:
        check(actor, "monitoring of all processes was stopped")
