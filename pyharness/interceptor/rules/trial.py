# SPDX-License-Identifier: GPL-2.0
"""What the check of a rule has: the module in a guest, actors, and a record of what it asked."""

import hashlib
import random
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NoReturn

from pyharness.errors import CheckFailed, GuestTimeout, ModuleRefused
from pyharness.guest.actor import Actor
from pyharness.guest.arguments import Argument
from pyharness.guest.guest import Guest
from pyharness.guest.result import Result
from pyharness.interceptor import call_log, command_programs
from pyharness.interceptor.call_log import Call
from pyharness.interceptor.interface import Command
from pyharness.interceptor.rules import subject as subjects
from pyharness.interceptor.rules.kernel import Footprint, SyscallTable, footprint
from pyharness.interceptor.rules.scheme import Scheme
from pyharness.interceptor.rules.subject import Subject
from pyharness.linux.syscalls import SyscallName, errno_name

# A call that nobody issues but the checks: sched_rr_get_interval(pid, 0) is -EFAULT, whatever pid.
CALL = "sched_rr_get_interval"
_STEPS = 8  # of the evidence, before the one that decided
_ABOUT_A_PROCESS = {Command.START, Command.STOP}


class RuleBroken(CheckFailed):
    """The module breaks a rule; the message is the evidence."""


@dataclass(frozen=True, kw_only=True)
class Kernel:
    """What the checks know of the guest's kernel.

    Attributes:
        number_of_syscalls: NR_syscalls.
        table: the table of system calls.
        clean: what was hooked before the module was first loaded.
        programs: the C programs of ``inside/`` that issue commands, by name.
    """

    number_of_syscalls: int
    table: SyscallTable
    clean: Footprint
    programs: Mapping[str, bytes]


class Trial:
    """One module in one guest, as the check of one rule uses it.

    Attributes:
        guest: the guest.
        subject: the module.
        kernel: what is known of the guest's kernel.
        scheme: the scheme.
        random: chooses arguments; the same for the same seed and rule.
    """

    def __init__(
        self, guest: Guest, subject: Subject, kernel: Kernel, scheme: Scheme, seed: str
    ) -> None:
        """Prepare for the check of one rule.

        Args:
            guest: the guest.
            subject: the module.
            kernel: what is known of the guest's kernel.
            scheme: the scheme.
            seed: chooses the random arguments.
        """
        self.guest = guest
        self.subject = subject
        self.kernel = kernel
        self.scheme = scheme
        self.random = random.Random(seed)
        self._steps: deque[str] = deque(maxlen=_STEPS)

    # ---- evidence ----

    def note(self, step: str) -> None:
        """Add a step to the evidence."""
        self._steps.append(step)

    @property
    def steps(self) -> str:
        """The last steps, a line each."""
        return "\n".join(f"  {step}" for step in self._steps)

    def fail(self, asked: str, came: object, wanted: object) -> NoReturn:
        """End the check: the module breaks the rule.

        Args:
            asked: what was asked of the module.
            came: what came.
            wanted: what should have come.

        Raises:
            RuleBroken: always.
        """
        raise self._broken(asked, came, wanted)

    def _broken(self, asked: str, came: object, wanted: object) -> RuleBroken:
        before = f"\nbefore that:\n{self.steps}" if self._steps else ""
        return RuleBroken(f"asked:  {asked}\ncame:   {came}\nwanted: {wanted}{before}")

    # ---- processes ----

    def actor(self, user: str = "root") -> Actor:
        """Start a process of a user."""
        return self.guest.actor(user)

    def call(self, actor: Actor, call: SyscallName, *args: Argument) -> Result:
        """Issue a system call, which has to return in the scheme's time.

        Raises:
            RuleBroken: it does not.
        """
        actor.begin(call, *args)
        return self.finish(actor, f"{call}{args} by process {actor.pid}")

    def finish(self, actor: Actor, asked: str) -> Result:
        """Wait for the call that an actor has begun.

        Args:
            actor: the actor.
            asked: what it was asked, for the evidence.

        Raises:
            RuleBroken: it does not return in time.
        """
        try:
            return actor.finish(self.guest.limit(self.scheme.seconds))
        except GuestTimeout as error:
            raise self._broken(asked, f"no answer\n{error}", "an answer") from error

    # ---- commands ----

    def order(
        self,
        command: Command | int,
        call: SyscallName = CALL,
        pid: int = 0,
        *,
        by: Actor | None = None,
        wanted: int | tuple[int, ...] = 0,
        user: str = "",
    ) -> int:
        """Issue a command, and make sure that its result is the right one.

        Args:
            command: the command, or a number that need not be one of the commands.
            call: the system call that it is about.
            pid: the process that it is about.
            by: who issues it; None: root.
            wanted: 0 for success, or the number of the error; or several, if each is right.
            user: the user who ``by`` is, for the evidence.

        Returns:
            The number of the error that came; 0 if none did.

        Raises:
            RuleBroken: the result is another.
        """
        issuer = by or self.guest.root
        interface = self.subject.interface
        value, name = command, f"command {command}"
        if isinstance(command, Command):
            value, name = interface.commands[command], command.macro
        number = self.guest.syscalls.number(call) if isinstance(call, str) else int(str(call))
        of_pid = f", pid {pid}" if pid or command in _ABOUT_A_PROCESS else ""
        asked = f"{name}, system call {call}" + f" ({number})" * (str(call) != str(number))
        asked += of_pid + (f", by {user}" if user else "")
        issuer.begin(interface.custom_syscall, value, number, pid)
        result = self.finish(issuer, asked)
        expected = wanted if isinstance(wanted, tuple) else (wanted,)
        came = result.errno
        if came not in expected or (not came and result.value):
            self.fail(asked, result, " or ".join(map(_named, expected)))
        self.note(f"{asked}: {result}")
        return came

    def intercept(self, call: SyscallName = CALL) -> None:
        """Intercept a system call.

        Raises:
            RuleBroken: it fails.
        """
        self.order(Command.INTERCEPT, call)

    def start(self, pid: int, call: SyscallName = CALL) -> None:
        """Start to monitor a process, or all by 0.

        Raises:
            RuleBroken: it fails.
        """
        self.order(Command.START, call, pid)

    # ---- programs ----

    def program(self, name: str) -> list[str]:
        """Write a C program that issues commands to the guest, and return how its line begins.

        Nothing is compiled: the module, which is loaded already, must not get at the cache.

        Args:
            name: the name of the program: one of command_programs.NAMES.

        Raises:
            CheckFailed: the guest can't write it.
        """
        data, path = self.kernel.programs[name], f"/root/{name}"
        # The hash proves that it was written; exit statuses are the module's.
        line = f"cat > {path}; chmod 755 {path}; sha256sum {path}"
        said = self.guest.run(line, stdin=data)
        if said.stdout.split()[:1] != [hashlib.sha256(data).hexdigest()]:
            raise CheckFailed(f"the guest does not write {path}: {said.stderr or said.stdout}")
        return [path, command_programs.numbers(self.subject.interface)]

    # ---- the kernel log ----

    def mark(self) -> int:
        """Return a mark for lines()."""
        return self.guest.log.mark()

    def lines(self, mark: int) -> list[Call]:
        """Return the calls that were logged since a mark."""
        return [*call_log.calls(self.guest.log.since(mark), self.guest.syscalls)]

    def log_text(self, mark: int) -> list[str]:
        """Return the texts of the records since a mark that look like a logged call."""
        return [record.text for record in self.guest.log.since(mark) if record.text.startswith("[")]

    def is_logged(self, actor: Actor, call: SyscallName = CALL) -> bool:
        """Have an actor issue a call, and return whether it is logged.

        Raises:
            RuleBroken: it is logged more than once, or as another process's.
        """
        mark = self.mark()
        args = (actor.pid, 0) if call == CALL else (0,)
        self.call(actor, call, *args)
        number = self.guest.syscalls.number(str(call))
        found = [line for line in self.lines(mark) if line.syscall.number == number]
        pids = [line.pid for line in found]
        asked = f"{call}{args} by process {actor.pid}"
        if pids not in ([], [actor.pid]):
            self.fail(asked, f"lines of the log for the processes {pids}", "one line at most")
        self.note(f"{asked}: {'logged' if pids else 'not logged'}")
        return bool(pids)

    def expect_logged(self, actor: Actor, why: str, call: SyscallName = CALL) -> None:
        """Make sure that a call by an actor is logged.

        Args:
            actor: the actor.
            why: why it should be, for the evidence.
            call: the call.

        Raises:
            RuleBroken: it is not.
        """
        if not self.is_logged(actor, call):
            asked = f"{call} by process {actor.pid}"
            self.fail(asked, "no line in the kernel log", f"a line: {why}")

    def expect_unlogged(self, actor: Actor, why: str, call: SyscallName = CALL) -> None:
        """Make sure that a call by an actor is not logged; the arguments are expect_logged()'s.

        Raises:
            RuleBroken: it is.
        """
        if self.is_logged(actor, call):
            asked = f"{call} by process {actor.pid}"
            self.fail(asked, "a line in the kernel log", f"no line: {why}")

    # ---- loading ----

    def load(self) -> None:
        """Load the module.

        Raises:
            RuleBroken: the kernel refuses it.
        """
        asked = f"insmod {self.subject.ko.name}"
        if self.subject.name not in self.guest.modules:
            try:
                subjects.bring(self.guest, self.subject)
            except ModuleRefused as error:
                raise self._broken(asked, error, "it is loaded") from error
        root = self.guest.root
        with subjects.opened(self.guest, self.subject) as file:
            root.begin("finit_module", file, subjects.parameters(self.subject), 0)
            result = self.finish(root, asked)
        if result.errno:
            self.fail(asked, result, 0)
        self.note(f"{asked}: 0")

    def try_unload(self) -> Result:
        """Unload the module, or let the kernel refuse that.

        Raises:
            RuleBroken: the kernel does neither.
        """
        root = self.guest.root
        root.begin("delete_module", self.subject.name, subjects.O_NONBLOCK)
        result = self.finish(root, f"rmmod {self.subject.name}")
        self.note(f"rmmod: {result}")
        return result

    def unload(self) -> None:
        """Unload the module.

        Raises:
            RuleBroken: the kernel refuses.
        """
        if (result := self.try_unload()).errno:
            self.fail(f"rmmod {self.subject.name}", result, 0)

    def check_restored(self) -> None:
        """Make sure that the kernel is as it was before the module was loaded.

        Raises:
            RuleBroken: it is not.
        """
        if wrong := self.left_behind():
            self.fail(f"rmmod {self.subject.name}", wrong, "the kernel as it was before insmod")

    def left_behind(self) -> str:
        """Return what the module has left behind in the kernel; empty if nothing."""
        clean, table = self.kernel.clean, self.kernel.table
        now = footprint(self.guest, table)
        if now.table != clean.table:
            names = self.guest.syscalls
            changed = [f"{names.name(n)} ({n})" for n in table.changed(clean.table, now.table)]
            return f"the table of system calls still has changed entries: {', '.join(changed[:8])}"
        if now.hooked != clean.hooked:
            more = set(now.hooked.splitlines()) - set(clean.hooked.splitlines())
            return f"functions of the kernel are still hooked: {', '.join(sorted(more)[:8])}"
        return ""

    # ---- waiting ----

    def fall_asleep(self, actor: Actor, seconds: int) -> None:
        """Have an actor begin nanosleep(), and wait until it sleeps.

        Args:
            actor: the actor.
            seconds: how long it sleeps.

        Raises:
            RuleBroken: it does not.
        """
        size = self.guest.syscalls.bytes_of_long
        actor.begin("nanosleep", seconds.to_bytes(size, "little") + bytes(size), 0)
        number = str(self.guest.syscalls.number("nanosleep"))
        step = f"nanosleep({seconds} s) by process {actor.pid}"
        self.wait(
            f"{step} sleeps",
            lambda: self.guest.agent.read(f"/proc/{actor.pid}/syscall").split()[0] == number,
        )
        self.note(f"{step}: it sleeps")

    def wait(self, what: str, condition: Callable[[], object]) -> None:
        """Wait for a condition, for the scheme's time.

        Args:
            what: the condition, in words.
            condition: is called again and again.

        Raises:
            RuleBroken: it does not come true.
        """
        try:
            self.guest.wait(what, condition, seconds=self.scheme.seconds)
        except CheckFailed as error:
            raise self._broken(what, "nothing in time", "it happens") from error


def _named(number: int) -> str:
    return f"-{errno_name(number)}" if number else "0"
