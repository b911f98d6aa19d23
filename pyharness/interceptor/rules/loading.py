# SPDX-License-Identifier: GPL-2.0
"""The rules about building and loading a module, and about what works while it is loaded."""

import errno
import os

from pyharness.interceptor.interface import Command
from pyharness.interceptor.rules.kernel import write_protection
from pyharness.interceptor.rules.rule import Rules
from pyharness.interceptor.rules.trial import CALL, Trial

RULES = Rules()
_NO_COMMAND = 99
_EXIT_STATUSES = (0, 1, 37, 255)


@RULES.rule("builds", 5, loaded=False)
def builds(_trial: Trial) -> None:
    """The module builds, as an ordinary user and without a network."""
    # Whoever builds the module decides this rule: without a file there is no trial.


@RULES.rule("no-warnings", 2, "builds", loaded=False)
def no_warnings(trial: Trial) -> None:
    """The build prints no warning, and the module has none hidden by an option or a pragma."""
    if trial.subject.warnings:
        trial.fail("make", "\n".join(trial.subject.warnings[:10]), "no warning")


@RULES.rule("loads", 3, "builds", loaded=False)
def loads(trial: Trial) -> None:
    """The kernel loads the module."""
    trial.load()


@RULES.rule("takes-commands", 4, "loads")
def takes_commands(trial: Trial) -> None:
    """The module answers system call MY_CUSTOM_SYSCALL."""
    trial.order(_NO_COMMAND, wanted=errno.EINVAL)


@RULES.rule("exit-works", 2, "loads")
def exit_works(trial: Trial) -> None:
    """Processes end with their exit status while the module is loaded."""
    for wanted in _EXIT_STATUSES:
        actor = trial.actor("nobody")
        actor.exit(wanted)
        came = os.waitstatus_to_exitcode(actor.reap())
        if came != wanted:
            trial.fail(f"exit_group({wanted})", f"exit status {came}", wanted)
    shell = trial.guest.run("for i in 1 2 3 4 5; do sh -c 'exit 3' || :; done; exit 42")
    if shell.status != 42:
        trial.fail("a shell that runs five others, and ends by exit 42", shell.status, 42)


# QEMU takes half a minute to list the pages of a 64-bit kernel.
@RULES.rule("table-read-only", 2, "intercept-release", architectures=("i386",))
def table_read_only(trial: Trial) -> None:
    """The table of system calls is write-protected again after each change."""

    def look(after: str) -> None:
        if wrong := write_protection(trial.guest, trial.kernel.table):
            trial.fail(after, wrong, "the table and the CPUs as they were before")

    look("insmod")
    trial.intercept()
    look(Command.INTERCEPT.macro)
    trial.order(Command.RELEASE, CALL)
    look(Command.RELEASE.macro)
    trial.unload()
    look("rmmod")
