# SPDX-License-Identifier: GPL-2.0
"""The interceptor, loaded in a guest: its four commands, its status, its end."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pyharness.errors import CheckFailed
from pyharness.guest.agent import Actor, Result
from pyharness.host.wording import counted
from pyharness.interceptor import status
from pyharness.interceptor.interface import Command, Interface

if TYPE_CHECKING:
    from pyharness.guest.guest import Guest

_NO_COMMAND = 99


class LoadedModule:
    """A loaded module, whatever it does.

    Attributes:
        guest: where it is loaded.
        name: what the kernel calls it.
    """

    def __init__(self, guest: "Guest", name: str) -> None:
        """The module that is loaded there under that name."""
        self.guest = guest
        self.name = name

    def parameter(self, name: str) -> str:
        """What a parameter of the module is, that may be read.

        Raises:
            CheckFailed: it may not, or there is none.
        """
        path = f"/sys/module/{self.name}/parameters/{name}"
        return self.guest.run(["cat", path]).check().stdout.removesuffix("\n")

    def unload(self) -> None:
        """Unload it.

        Raises:
            CheckFailed: the kernel refuses.
        """
        self.guest.run(["rmmod", self.name]).check()


class Module(LoadedModule):
    """A loaded interceptor.

    Attributes:
        abi: how to talk to it.
    """

    def __init__(self, guest: "Guest", abi: Interface, name: str) -> None:
        """Talk to the interceptor that is loaded there under that name."""
        super().__init__(guest, name)
        self.abi = abi

    def command(
        self, command: Command | int, call: str | int, pid: int = 0, *, by: Actor | None = None
    ) -> Result:
        """Issue a command; what the module returned.

        Args:
            command: which, or a number of one's own.
            call: the system call that it is about, by name or number.
            pid: the process that it is about, 0 for everybody.
            by: who issues it, root if nobody is named.
        """
        return (by or self.guest.root).command(self.abi, command, call, pid)

    def intercept(self, call: str | int, *, by: Actor | None = None) -> Result:
        """Route a system call through the interceptor."""
        return self.command(Command.INTERCEPT, call, by=by)

    def release(self, call: str | int, *, by: Actor | None = None) -> Result:
        """Give a system call back."""
        return self.command(Command.RELEASE, call, by=by)

    def start(self, call: str | int, pid: int = 0, *, by: Actor | None = None) -> Result:
        """Log each such call of a process, or of everybody."""
        return self.command(Command.START, call, pid, by=by)

    def stop(self, call: str | int, pid: int = 0, *, by: Actor | None = None) -> Result:
        """Stop that."""
        return self.command(Command.STOP, call, pid, by=by)

    @contextmanager
    def intercepted(self, *calls: str | int) -> Iterator[None]:
        """Have system calls intercepted as long as the context lasts.

        Raises:
            CheckFailed: one can't be intercepted; none is then.
        """
        done: list[str | int] = []
        try:
            for call in calls:
                self.expect(self.intercept(call), 0, f"intercept {call}")
                done.append(call)
            yield
        finally:
            for call in done:
                self.release(call)

    def status(self) -> dict[int | str, status.Intercepted]:
        """What is intercepted and who is monitored, by system call number.

        Raises:
            CheckFailed: the module has no status file.
        """
        if self.abi.status is None:
            raise CheckFailed(f"{self.name} has no status file")
        return status.parse(self.guest.agent.read(self.abi.status))

    @staticmethod
    def expect(result: Result, wanted: int, what: str) -> None:
        """Make sure of a result: 0, or an error's number.

        Raises:
            CheckFailed: it is another.
        """
        if result.errno != wanted or (not wanted and result.value):
            name = errno.errorcode.get(wanted, "0")
            raise CheckFailed(f"{what}: {result} where it is to be {'-' * bool(wanted)}{name}")

    def prove(self) -> None:
        """Prove that the hijack took, by the door that every program uses.

        A module that loads and whose hooks never fire is the commonest failure
        of its kind: on a kernel without a table that counts, say.

        Raises:
            CheckFailed: it did not take.
        """
        door = self.abi.custom_syscall
        answer = self.command(_NO_COMMAND, door)
        if answer.errno != errno.EINVAL:
            raise CheckFailed(
                f"{self.name} loads, but its hook on system call {door} does not fire: an"
                f" unknown command gives {answer}, not -EINVAL. This kernel may not dispatch"
                " through the table that the module changes"
            )
        with self.intercepted("exit_group"):
            victim = self.guest.actor()
            self.expect(self.start("exit_group", victim.pid), 0, "start exit_group")
            mark = self.guest.log.mark()
            victim.exit()
            victim.reap()
            logged = [call.pid for call in self.guest.log.calls(mark)]
            if logged != [victim.pid]:
                raise CheckFailed(
                    f"{self.name} loads, but a monitored process's exit_group is not served:"
                    f" the log has {counted(len(logged), 'line')} of it, not 1"
                )
