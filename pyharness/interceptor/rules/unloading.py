# SPDX-License-Identifier: GPL-2.0
"""The rules about unloading, and about sleepers that are beyond the assignment."""

import errno
import signal

from pyharness.interceptor.interface import Command
from pyharness.interceptor.rules import slabs, subject
from pyharness.interceptor.rules.rule import Rules
from pyharness.interceptor.rules.trial import CALL, Trial

RULES = Rules()
_NO_COMMAND = 99
_CYCLES = 50
_MONITORED = 8  # processes in each cycle
# A leak of one object for each process that is monitored makes _CYCLES * _MONITORED; the kernel's
# own caches vary by a few dozen.
_GROWTH = _CYCLES * _MONITORED // 2
_SLEEP_SECONDS = 2
_RUN_SECONDS = 30.0  # of a program


def _check_unloaded(trial: Trial) -> None:
    """Make sure that the kernel works as before the module was loaded."""
    trial.check_restored()
    custom = trial.subject.interface.custom_syscall
    if custom == trial.guest.syscalls.number("restart_syscall"):
        trial.order(_NO_COMMAND, wanted=errno.EINTR)  # as restart_syscall() answers
    actor = trial.actor("nobody")
    actor.exit(5)
    actor.reap()


@RULES.rule("unload-restores", 4, "intercept-release")
def unload_restores(trial: Trial) -> None:
    """Unloading restores MY_CUSTOM_SYSCALL, exit_group and all that is still intercepted."""
    trial.unload()
    _check_unloaded(trial)
    trial.load()
    trial.intercept()
    trial.intercept("exit_group")
    trial.unload()
    _check_unloaded(trial)


@RULES.rule("unload-all", 3, "unload-restores", "number-last")
def unload_all(trial: Trial) -> None:
    """Unloading restores every system call of the kernel, if all of them are intercepted."""
    count = trial.kernel.number_of_syscalls
    others = count - (trial.subject.interface.custom_syscall < count)
    asked, wanted = f"{Command.INTERCEPT.macro} of each system call", f"{others} intercepted"
    done = trial.guest.run([*trial.program("every"), str(count)], seconds=_RUN_SECONDS)
    said = done.stdout.strip()
    if said != wanted:  # the exit status proves nothing: exit_group() is the module's
        trial.fail(asked, said or f"no output, exit status {done.status}", wanted)
    trial.note(f"{asked}: {said}")
    trial.unload()
    _check_unloaded(trial)


@RULES.rule("cycles", 3, "unload-restores", "start-stop")
def cycles(trial: Trial) -> None:
    """The module can be loaded and unloaded fifty times, and leaves no memory behind."""
    guest, module = trial.guest, trial.subject
    program = trial.program("cycles")
    pids = [str(trial.actor().pid) for _ in range(_MONITORED)]
    file, parameters = subject.path_of(module), subject.parameters(module)
    number = str(guest.syscalls.number(CALL))
    asked = f"{_CYCLES} times: insmod, monitor {_MONITORED} processes, rmmod"

    def run(count: int) -> None:
        line = [*program, file, parameters, module.name, number, str(count), *pids]
        done = guest.run(line, seconds=_RUN_SECONDS)
        wanted, said = f"{count} cycles", done.stdout.strip()
        if said != wanted:  # the exit status proves nothing: exit_group() is the module's
            trial.fail(asked, said or f"no output, exit status {done.status}", wanted)

    trial.unload()
    run(1)
    before = slabs.held(guest)
    run(_CYCLES)
    more = {name: _GROWTH for name in before if name.startswith(("kmalloc-", "pid"))}
    if grown := slabs.wait_back(guest, before, more=more, seconds=trial.scheme.seconds):
        objects = ", ".join(f"{count} of {name}" for name, count in sorted(grown.items()))
        trial.fail(
            asked,
            f"the kernel holds more objects than before: {objects}",
            "all memory is given back",
        )


# ---- beyond the assignment ----


@RULES.rule("sleepers-at-unload", 0, "unload-restores", "log-line")
def sleepers_at_unload(trial: Trial) -> None:
    """Unloading while a process sleeps in an intercepted call does no harm."""
    sleeper = trial.actor("nobody")
    trial.intercept("nanosleep")
    trial.start(sleeper.pid, "nanosleep")
    trial.fall_asleep(sleeper, _SLEEP_SECONDS)
    trial.order(Command.RELEASE, "nanosleep")
    trial.try_unload()  # a module may refuse, as long as somebody is inside
    result = trial.finish(sleeper, f"nanosleep({_SLEEP_SECONDS} s) by process {sleeper.pid}")
    if result.errno or result.value:
        trial.fail("the sleep that lasted while the module was unloaded", result, 0)
    asked = "a shell that prints a line after that"
    if (said := trial.guest.run("echo works").stdout.strip()) != "works":
        trial.fail(asked, said or "no output", "works")


@RULES.rule("restarts", 0, "takes-commands")
def restarts(trial: Trial) -> None:
    """A sleep that is stopped and continued ends as usual while the module is loaded."""
    sleeper = trial.actor("nobody")
    trial.fall_asleep(sleeper, _SLEEP_SECONDS)
    for number, state in ((signal.SIGSTOP, "T"), (signal.SIGCONT, "S")):
        sleeper.kill(number)

        def is_reached(wanted: str = state) -> bool:
            return trial.guest.agent.state(sleeper.pid) == wanted

        trial.wait(f"process {sleeper.pid} gets signal {number}", is_reached)
        trial.note(f"process {sleeper.pid} has got signal {number}")
    result = trial.finish(sleeper, f"nanosleep({_SLEEP_SECONDS} s), stopped and continued")
    if result.errno or result.value:
        trial.fail(f"nanosleep({_SLEEP_SECONDS} s), stopped and continued", result, 0)
