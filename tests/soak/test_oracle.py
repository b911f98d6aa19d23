# SPDX-License-Identifier: GPL-2.0
"""The module does what the model of its contract does, step by step, for any history."""

import random
import signal
from dataclasses import dataclass, field

import hypothesis
import pytest
from hypothesis import HealthCheck, Phase, assume, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from model import Contract, Task

from pyharness import Actor, GuestError
from pyharness.interceptor import Command, Interceptor

STEPS = 2000
SETTINGS = settings(
    max_examples=20,
    stateful_step_count=100,
    deadline=None,
    database=None,
    print_blob=True,
    phases=(Phase.generate, Phase.shrink),
    suppress_health_check=list(HealthCheck),
)
# Nobody but the tests calls these, and all can be called with nonsense.
CALLS = ("sched_rr_get_interval", "sched_get_priority_max", "getsid", "exit_group")
COMMANDS = (Command.INTERCEPT, Command.RELEASE, *[Command.START] * 4, *[Command.STOP] * 4)
USERS = {"root": 0, "nobody": 65534, "daemon": 1}
MOST = 9
INIT = Task(1, 1, 0)


@dataclass
class Member:
    """An actor and what the model knows of it.

    Attributes:
        actor: who acts.
        task: its ids and owner.
        parent: who has to take note of its end, None for the agent.
        ended: as a thread; one that was its process's first is still there.
    """

    actor: Actor
    task: Task
    parent: "Member | None"
    ended: bool = False


@dataclass
class Cast:
    """Who there is.

    Attributes:
        members: all who were born and not yet reaped.
        dead: numbers of those that are gone.
    """

    members: list[Member] = field(default_factory=list)
    dead: list[int] = field(default_factory=list)

    def living(self) -> list[Member]:
        return [member for member in self.members if not member.ended]

    def threads_of(self, process: int) -> list[Member]:
        return [member for member in self.living() if member.task.process == process]

    def zombies(self) -> list[Member]:
        """First threads of processes that have no thread left, and whose parent could know."""
        return [
            member
            for member in self.members
            if member.ended
            and member.task.pid == member.task.process
            and not self.threads_of(member.task.process)
            and (member.parent is None or not member.parent.ended)
        ]


class Counting(RuleBasedStateMachine):
    """A state machine that counts its steps.

    Attributes:
        steps: so many, of all histories.
    """

    steps = 0


def machine(module: Interceptor, number_of_syscalls: int) -> type[Counting]:
    """The state machine that drives that module."""
    guest = module.guest
    numbers = [guest.syscalls.number(call) for call in CALLS]
    exit_group = guest.syscalls.number("exit_group")

    class Oracle(Counting):
        """Each rule acts in the guest and in the model; the invariant compares."""

        def __init__(self) -> None:
            super().__init__()
            self.model = Contract(number_of_syscalls, module.interface.custom_syscall)
            self.model.tasks[INIT.pid] = INIT
            self.cast = Cast()
            self.mark = guest.log.mark()
            self.expected: list[tuple[int, int]] = []
            self.last: tuple[int, int, int, Member] | None = None
            self.born("root", guest.actor("root"), None)

        # ---- who is born and dies ----

        def born(self, user: str, actor: Actor, parent: Member | None) -> Member:
            member = Member(actor, Task(actor.pid, actor.pid, USERS[user]), parent)
            self.joined(member)
            return member

        def joined(self, member: Member) -> None:
            self.cast.members.append(member)
            self.model.tasks[member.task.pid] = member.task

        def one(self, data: st.DataObject) -> Member:
            return data.draw(st.sampled_from(self.cast.living()), label="who")

        def is_room(self) -> bool:
            return len(self.cast.members) < MOST

        def others_live(self) -> bool:
            return len({member.task.process for member in self.cast.living()}) > 1

        @precondition(is_room)
        @rule(data=st.data(), how=st.sampled_from(("root", *USERS, "fork", "thread", "thread")))
        def birth(self, data: st.DataObject, how: str) -> None:
            if how in USERS:
                self.born(how, guest.actor(how), None)
            elif how == "fork":
                self.fork(self.one(data))
            else:
                self.thread(self.one(data))

        def fork(self, parent: Member) -> None:
            child = parent.actor.fork()
            task = Task(child.pid, child.pid, parent.task.owner)
            # Whoever of the parent's threads forked: it is the process's child.
            self.joined(Member(child, task, self.first_of(parent)))

        def thread(self, member: Member) -> None:
            actor = member.actor.thread()
            task = Task(actor.pid, member.task.process, member.task.owner)
            self.joined(Member(actor, task, None))

        def first_of(self, member: Member) -> Member:
            return next(m for m in self.cast.members if m.task.pid == member.task.process)

        def has_ended(self, ended: list[Member]) -> None:
            """Take note of threads that have ended; the last one ends its process."""
            for member in ended:
                member.ended = True
                process = member.task.process
                if member.task.pid != process:
                    self.is_gone(member)
                if not self.cast.threads_of(process):
                    self.model.ended(process)
                    self.orphans(process)

        def orphans(self, process: int) -> None:
            """Nobody takes note of a dead process's children: init does, at once."""
            for member in [*self.cast.members]:
                if member.parent and member.parent.task.pid == process:
                    if member in self.cast.zombies() or (
                        member.ended and not self.cast.threads_of(member.task.process)
                    ):
                        self.is_gone(member)
                    member.parent = INITS_CHILD

        def is_gone(self, member: Member) -> None:
            if member in self.cast.members:
                self.cast.members.remove(member)
                self.cast.dead.append(member.task.pid)
                self.model.reaped(member.task.pid)

        def ends(self, process: int) -> None:
            threads = self.cast.threads_of(process)
            first = self.first_of(threads[0])
            self.has_ended(threads)
            if first.parent is INITS_CHILD:
                self.is_gone(first)
            guest.wait("the process's end", lambda: self.is_over(first))

        def is_over(self, first: Member) -> bool:
            """Whether the kernel, too, has done with a process, all but its first thread."""
            try:
                threads = guest.agent.request("list", path=f"/proc/{first.task.pid}/task")["names"]
                state = guest.agent.state(first.task.pid)
            except GuestError:
                return first not in self.cast.members
            return first in self.cast.members and state == "Z" and len(threads) == 1

        @precondition(others_live)
        @rule(data=st.data(), how=st.sampled_from(("exit_group", "kill", "exit", "exit")))
        def death(self, data: st.DataObject, how: str) -> None:
            member = self.one(data)
            if how == "exit_group":
                self.exit(member)
            elif how == "exit":
                self.exit_thread(member)
            else:
                member.actor.kill(signal.SIGKILL)
                self.ends(member.task.process)

        def exit(self, member: Member) -> None:
            if self.model.is_logged(exit_group, member.task):
                self.expected.append((member.task.pid, exit_group))
            member.actor.exit()
            self.ends(member.task.process)

        def exit_thread(self, member: Member) -> None:
            member.actor.exit_thread()
            if self.cast.threads_of(member.task.process) == [member]:
                self.ends(member.task.process)
            else:
                self.has_ended([member])
                guest.wait("the thread's end", lambda: self.has_left(member))

        def has_left(self, member: Member) -> bool:
            """Whether the kernel has done with a thread whose process goes on."""
            try:
                state = guest.agent.state(member.task.pid)
            except GuestError:
                return member not in self.cast.members
            return member in self.cast.members and state == "Z"

        @precondition(lambda self: self.cast.zombies())
        @rule(data=st.data())
        def reap(self, data: st.DataObject) -> None:
            member = data.draw(st.sampled_from(self.cast.zombies()), label="zombie")
            if member.parent is None:
                member.actor.reap()
            else:
                member.parent.actor.wait(member.actor)
            self.is_gone(member)

        # ---- what they do ----

        def issue(self, command: int, number: int, pid: int, by: Member) -> None:
            self.last = command, number, pid, by
            wanted = self.model.command(command, number, pid, by.task)
            result = module.command(command, number, pid, by=by.actor)
            note(f"{by.task}: {result}, by the contract {wanted}")
            assert (result.errno, result.value) == (wanted, -1 if wanted else 0)

        @initialize()
        def begin(self) -> None:
            (root,) = self.cast.living()
            self.issue(Command.INTERCEPT, numbers[0], 0, root)

        @rule(data=st.data())
        def command(self, data: st.DataObject) -> None:
            """By who may, mostly, and about what is intercepted, mostly."""
            commands = COMMANDS if self.model.calls else [Command.INTERCEPT] * 8 + [*Command]
            command = data.draw(st.sampled_from(commands), label="command")
            number = data.draw(st.sampled_from([*numbers, *[*self.model.calls] * 8]), label="call")
            roots = [member for member in self.cast.living() if member.task.owner == 0]
            by = data.draw(st.sampled_from([*self.cast.living(), *roots * 3]), label="who")
            pids = [member.task.pid for member in self.cast.members]
            threads = {*pids} - {member.task.process for member in self.cast.members}
            about = st.sampled_from([0, 0, *pids, *sorted(threads) * 3])
            self.issue(command, number, data.draw(about, label="pid"), by)

        @precondition(lambda self: self.last and not self.last[-1].ended)
        @rule()
        def command_again(self) -> None:
            assert self.last is not None
            self.issue(*self.last)

        @rule(
            data=st.data(),
            command=st.sampled_from([*Command, *Command, 0, 5, -1, 0x80000001 - 2**32]),
            number=st.sampled_from(
                [*numbers * 2, module.interface.custom_syscall, -1, number_of_syscalls, 2**31 - 1]
            ),
        )
        def odd_command(self, data: st.DataObject, command: int, number: int) -> None:
            pids = [INIT.pid, -1, 2**31 - 1, *self.cast.dead[-3:]]
            pid = data.draw(st.sampled_from(pids), label="pid")
            # These are the registers of poll(NULL, 0, -1): README, "Limits".
            assume((command, number, pid) != (0, 0, -1))
            self.issue(command, number, pid, self.one(data))

        @rule(data=st.data(), number=st.sampled_from([n for n in numbers if n != exit_group]))
        def call(self, data: st.DataObject, number: int) -> None:
            member = self.one(data)
            if self.model.is_logged(number, member.task):
                self.expected.append((member.task.pid, number))
            member.actor.syscall(number, 2**31 - 1, 0)

        # ---- what is compared ----

        @invariant()
        def agree(self) -> None:
            type(self).steps += 1
            # A process that has ended takes its time to be gone.
            guest.wait(
                "the module's state to be the model's",
                lambda: (
                    {call.number: (line.mode, line.pids) for call, line in module.status().items()}
                    == self.model.status()
                ),
                seconds=1,
            )
            logged = [
                (call.pid, call.syscall.number)
                for call in module.logged(self.mark)
                # The guest's own processes end, too.
                if call.syscall.number != exit_group
                or call.pid in (*self.model.tasks, *self.cast.dead)
            ]
            assert logged == self.expected
            self.mark = guest.log.mark()
            self.expected = []

        def teardown(self) -> None:
            for number in module.status():
                module.release(number)
            guest.dismiss()

    return Oracle


INITS_CHILD = Member(actor=None, task=INIT, parent=None)  # type: ignore[arg-type]


@pytest.mark.test_limit(900)
def test_any_history(module: Interceptor, number_of_syscalls: int, soak: float) -> None:
    oracle = machine(module, number_of_syscalls)
    while oracle.steps < soak * STEPS:
        seed = random.getrandbits(32)
        hypothesis.seed(seed)(oracle)
        try:
            run_state_machine_as_test(oracle, settings=SETTINGS)
        except BaseException as error:
            error.add_note(f"the history above is by hypothesis.seed({seed})")
            raise
