# SPDX-License-Identifier: GPL-2.0
"""The contract of the module, as a model: what each command returns and does, who is logged. Pure.

It knows processes, threads and their owners, and nothing of a kernel. The
checks stand in the order in which they are made; the first that fails decides.
"""

import errno
from collections.abc import Iterator
from dataclasses import dataclass, field

from pyharness.interceptor import Command

ROOT = 0


@dataclass(frozen=True)
class Task:
    """A thread.

    Attributes:
        pid: its own id.
        process: the id of its process, which is that of the first thread.
        owner: the user id.
    """

    pid: int
    process: int
    owner: int


@dataclass
class Call:
    """What is known of an intercepted system call.

    Attributes:
        everybody: whether everybody is monitored.
        pids: who is monitored, or, with everybody, who is not.
    """

    everybody: bool = False
    pids: set[int] = field(default_factory=set)

    @property
    def mode(self) -> str:
        """As the status file has it."""
        if not self.everybody:
            return "listed"
        return "everybody-except" if self.pids else "everybody"


class Contract:
    """The module's state, and what each command makes of it."""

    def __init__(self, number_of_syscalls: int, custom_syscall: int) -> None:
        self._number_of_syscalls = number_of_syscalls
        self._custom_syscall = custom_syscall
        self.calls: dict[int, Call] = {}
        self.tasks: dict[int, Task] = {}

    def command(self, command: int, number: int, pid: int, by: Task) -> int:
        """Carry out a command; its result is 0 or the number of an error."""
        for refused, error in self._checks(command, number, pid, by):
            if refused:
                return error
        if command == Command.INTERCEPT:
            self.calls[number] = Call()
        elif command == Command.RELEASE:
            del self.calls[number]
        elif command == Command.START:
            return self._start(self.calls[number], pid)
        else:
            return self._stop(self.calls[number], pid)
        return 0

    def _checks(self, command: int, number: int, pid: int, by: Task) -> Iterator[tuple[bool, int]]:
        """Whether each check refuses, in their order, and its error."""
        reroutes = command in (Command.INTERCEPT, Command.RELEASE)
        yield command not in tuple(Command), errno.EINVAL
        yield not 0 <= number < self._number_of_syscalls, errno.EINVAL
        yield number == self._custom_syscall, errno.EINVAL
        yield not reroutes and pid != 0 and pid not in self.tasks, errno.EINVAL
        yield by.owner != ROOT and (reroutes or not self._owns(by, pid)), errno.EPERM
        yield command != Command.INTERCEPT and number not in self.calls, errno.EINVAL
        yield command == Command.INTERCEPT and number in self.calls, errno.EBUSY

    def _owns(self, by: Task, pid: int) -> bool:
        return pid != 0 and self.tasks[pid].owner == by.owner

    @staticmethod
    def _start(call: Call, pid: int) -> int:
        if not pid:
            if call.everybody and not call.pids:
                return errno.EBUSY
            call.everybody, call.pids = True, set()
        elif (pid in call.pids) != call.everybody:
            return errno.EBUSY
        else:
            call.pids ^= {pid}
        return 0

    @staticmethod
    def _stop(call: Call, pid: int) -> int:
        if not pid:
            if not call.everybody:
                return errno.EINVAL
            call.everybody, call.pids = False, set()
        elif (pid in call.pids) == call.everybody:
            return errno.EINVAL
        else:
            call.pids ^= {pid}
        return 0

    def is_logged(self, number: int, by: Task) -> bool:
        """Whether a call of that number by that thread is logged."""
        call = self.calls.get(number)
        return call is not None and call.everybody != bool({by.pid, by.process} & call.pids)

    def ended(self, *pids: int) -> None:
        """Threads or processes have ended: their entries go. They may be there as zombies."""
        for call in self.calls.values():
            call.pids -= {*pids}

    def reaped(self, *pids: int) -> None:
        """Nobody bears these ids any more."""
        self.ended(*pids)
        for pid in pids:
            self.tasks.pop(pid, None)

    def status(self) -> dict[int, tuple[str, frozenset[int]]]:
        """The mode and the pids that the status file has to have for each number."""
        return {number: (call.mode, frozenset(call.pids)) for number, call in self.calls.items()}
