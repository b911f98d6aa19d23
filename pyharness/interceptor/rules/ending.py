# SPDX-License-Identifier: GPL-2.0
"""The rules about processes that end while they are monitored."""

import errno
import os
import signal

from pyharness.guest.actor import Actor
from pyharness.interceptor.interface import Command
from pyharness.interceptor.rules import subject
from pyharness.interceptor.rules.rule import Rules
from pyharness.interceptor.rules.trial import CALL, Trial

RULES = Rules()
_CALLS = (CALL, "getpgid", "capget")
_LAST_PID = "/proc/sys/kernel/ns_last_pid"
_ATTEMPTS = 20


def _zombie_is_forgotten(trial: Trial, child: Actor, how: str) -> None:
    """Make sure that a process that has ended, but is a zombie still, is in no list."""
    trial.wait(f"process {child.pid} ends", lambda: trial.guest.agent.state(child.pid) == "Z")
    trial.note(f"process {child.pid} has ended{how}; its parent has not waited for it yet")
    for call in _CALLS:
        trial.order(Command.STOP, call, child.pid, wanted=errno.EINVAL)


@RULES.rule("exit-cleans", 4, "stop-unmonitored")
def exit_cleans(trial: Trial) -> None:
    """A process that ends by exit_group() is removed from the list of each call."""
    parent, other = trial.actor(), trial.actor()
    for call in _CALLS:
        trial.intercept(call)
    for number_of_children in (1, 3):
        children = [parent.fork() for _ in range(number_of_children)]
        for call in _CALLS:
            for process in (*children, other):
                trial.start(process.pid, call)
        for child in children:
            child.exit()
            _zombie_is_forgotten(trial, child, "")
        for call in _CALLS:  # others stay
            trial.order(Command.STOP, call, other.pid)


@RULES.rule("death-by-signal", 0, "exit-cleans")
def death_by_signal(trial: Trial) -> None:
    """A process that is killed by a signal is removed from the list of each call."""
    parent = trial.actor()
    for call in _CALLS:
        trial.intercept(call)
    child = parent.fork()
    for call in _CALLS:
        trial.start(child.pid, call)
    child.kill(signal.SIGKILL)
    _zombie_is_forgotten(trial, child, " by SIGKILL")


def _set_last_pid(trial: Trial, pid: int) -> None:
    """Have the next process get the number after this one.

    No program is run for it, which would take the number. That it has worked is seen by the next
    process.
    """
    root, text = trial.guest.root, str(pid).encode()
    file = trial.call(root, "openat", subject.AT_FDCWD, _LAST_PID, os.O_WRONLY).value
    trial.call(root, "write", file, text, len(text))
    trial.call(root, "close", file)


@RULES.rule("pid-again", 2, "log-line")
def pid_again(trial: Trial) -> None:
    """A process that gets the number of one that has ended is not monitored."""
    trial.intercept()
    first = trial.actor("nobody")
    trial.start(first.pid)
    trial.expect_logged(first, "it is monitored")
    first.exit()
    first.reap()
    for _ in range(_ATTEMPTS):  # somebody else of the guest may get the number
        _set_last_pid(trial, first.pid - 1)
        second = trial.actor("nobody")
        if second.pid == first.pid:
            break
        second.exit()
        second.reap()
    trial.note(f"process {first.pid} has ended, and process {second.pid} has begun")
    trial.expect_unlogged(second, "it is another process than the one that was monitored")
    trial.start(second.pid)
