# SPDX-License-Identifier: GPL-2.0
"""The rules about commands and calls of several processes at the same moment."""

import errno
import re

from pyharness.interceptor.interface import Command
from pyharness.interceptor.rules.rule import Rules
from pyharness.interceptor.rules.trial import CALL, Trial

RULES = Rules()
# The kinds of inside/race.c, with the call that each is about.
_ONE_WINS = {"intercept": CALL, "start": CALL}
_STORM = {"exits": CALL, "in-flight": "getppid", "release": CALL, "exit-list": CALL}
# Each kind ends after so many rounds, or after so many seconds and at least so many rounds.
_ROUNDS, _SECONDS, _LEAST = 100_000, 2, 20
_RUN_SECONDS = 20.0
# What the program prints if all went well, and nothing else. Its exit status proves nothing: it
# ends by exit_group(), which is the module's.
_WENT_WELL = re.compile(r"\d+ rounds in \d+ s\n")
# The kinds that have released their call at the end.
_RELEASED = ("intercept", "in-flight")
_LONG_SECONDS = 1000


def _race(trial: Trial, kinds: dict[str, str]) -> None:
    """Run the program that races, once for each kind."""
    guest = trial.guest
    program = trial.program("race")
    for kind, call in kinds.items():
        numbers = (guest.syscalls.number(call), _ROUNDS, _SECONDS, _LEAST)
        asked = f"four threads on {guest.facts.cpus} CPUs, race {kind} {call}"
        done = guest.run([*program, kind, *map(str, numbers)], seconds=_RUN_SECONDS)
        said = done.stdout.strip()
        if not _WENT_WELL.fullmatch(done.stdout):
            trial.fail(
                asked,
                said or f"no output, exit status {done.status}",
                'only a line such as "80 rounds in 2 s"',
            )
        trial.note(f"{asked}: {said}")
        # Some kinds leave the call intercepted; commands work as before.
        trial.order(Command.RELEASE, call, wanted=errno.EINVAL if kind in _RELEASED else 0)
        trial.order(Command.INTERCEPT, call)
        trial.order(Command.RELEASE, call)


@RULES.rule("one-wins", 3, "intercept-twice", "start-twice", "release-twice", "stop-unmonitored")
def one_wins(trial: Trial) -> None:
    """Of several processes that issue the same command at once, exactly one succeeds."""
    _race(trial, _ONE_WINS)


@RULES.rule("storm", 4, "one-wins", "not-intercepted", "release-empties", "all-processes", cpus=4)
def storm(trial: Trial) -> None:
    """Commands, calls and exits on four CPUs at once neither crash nor block the kernel."""
    _race(trial, _ONE_WINS | _STORM)


@RULES.rule("second-caller", 3, "log-line")
def second_caller(trial: Trial) -> None:
    """While a process sleeps in an intercepted call, others' calls and commands go on."""
    sleeper, other = trial.actor("nobody"), trial.actor()
    trial.intercept("nanosleep")
    for actor in (sleeper, other):
        trial.start(actor.pid, "nanosleep")
    trial.fall_asleep(sleeper, _LONG_SECONDS)
    for _ in range(3):
        trial.call(other, "nanosleep", bytes(2 * trial.guest.syscalls.bytes_of_long), 0)
    trial.note(f"process {other.pid} has called nanosleep(0) meanwhile")
    trial.order(Command.STOP, "nanosleep", other.pid)
    trial.start(other.pid, "nanosleep")
    trial.intercept()
    trial.order(Command.RELEASE)
    third = trial.actor("nobody")
    third.exit()
    third.reap()
