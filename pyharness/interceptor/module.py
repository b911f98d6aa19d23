# SPDX-License-Identifier: GPL-2.0
"""The interceptor, loaded in a guest: its four commands, its log, its status, its end."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pyharness.errors import CheckFailed, HarnessError, ModuleRefused, UsageError
from pyharness.guest.actor import Actor
from pyharness.guest.guest import Guest
from pyharness.guest.loaded import LoadedModule
from pyharness.guest.result import Result
from pyharness.host.bundled import MODULE
from pyharness.host.wording import counted
from pyharness.interceptor import call_log, status
from pyharness.interceptor.call_log import Call
from pyharness.interceptor.interface import Command, Interface
from pyharness.linux.syscalls import SyscallName, SyscallRef

_NO_COMMAND = 99
# The system call that the module takes its commands by, in each ABI other than the kernel's own.
_CUSTOM = "restart_syscall"


class Interceptor(LoadedModule):
    """The interceptor, loaded in a guest.

    Attributes:
        guest: where it is loaded.
        interface: the numbers that it goes by.
    """

    def __init__(self, guest: Guest, interface: Interface, name: str) -> None:
        """The interceptor that is loaded in that guest under that name."""
        super().__init__(guest.run, name)
        self.guest = guest
        self.interface = interface

    def command(
        self, command: Command | int, call: SyscallName, pid: int = 0, *, by: Actor | None = None
    ) -> Result:
        """Issue a command, as any process would: by system call 0 on i386.

        Args:
            command: which one; a number may be no command.
            call: the system call that the command is about. The command is issued by its ABI.
            pid: the process that the command is about, 0 for all processes.
            by: the process that issues it, one of root's if none is given.

        Returns:
            What the module returned.
        """
        ref = self.guest.syscalls.ref(call)
        custom: SyscallName = self.interface.custom_syscall
        if not ref.native:
            custom = self.guest.syscalls.ref(_CUSTOM, ref.abi)
        value, name = command, f"command {command}"
        if isinstance(command, Command):
            value, name = self.interface.commands[command], command.name
        return (by or self.guest.root).syscall(
            custom, value, ref.number, pid, note=f"{name} {ref} ({ref.number}), pid {pid}"
        )

    def intercept(self, call: SyscallName, *, by: Actor | None = None) -> Result:
        """Have a system call intercepted."""
        return self.command(Command.INTERCEPT, call, by=by)

    def release(self, call: SyscallName, *, by: Actor | None = None) -> Result:
        """End the interception of a system call."""
        return self.command(Command.RELEASE, call, by=by)

    def start(self, call: SyscallName, pid: int = 0, *, by: Actor | None = None) -> Result:
        """Log each such call of a process, or of all processes (pid 0)."""
        return self.command(Command.START, call, pid, by=by)

    def stop(self, call: SyscallName, pid: int = 0, *, by: Actor | None = None) -> Result:
        """Stop logging such calls of a process, or of all processes (pid 0)."""
        return self.command(Command.STOP, call, pid, by=by)

    @contextmanager
    def intercepted(self, *calls: SyscallName) -> Iterator[None]:
        """Have system calls intercepted as long as the context lasts.

        Raises:
            CheckFailed: one can't be intercepted; none is then.
        """
        done: list[SyscallName] = []
        try:
            for call in calls:
                self.expect(self.intercept(call), 0, f"intercept {call}")
                done.append(call)
            yield
        finally:
            for call in done:
                self.release(call)

    def logged(self, mark: int) -> list[Call]:
        """The calls that the module has logged after a mark of the guest's kernel log."""
        return list(call_log.calls(self.guest.log.since(mark), self.guest.syscalls))

    def status(self) -> dict[SyscallRef, status.Intercepted]:
        """The calls that are intercepted, and the processes that are monitored.

        Raises:
            CheckFailed: the module has no status file.
        """
        if self.interface.status is None:
            raise CheckFailed(f"{self.name} has no status file")
        return status.parse(self.guest.agent.read(self.interface.status), self.guest.syscalls)

    @staticmethod
    def expect(result: Result, wanted: int, what: str) -> None:
        """Make sure of a result: 0, or an error's number.

        Raises:
            CheckFailed: it is another.
        """
        if result.errno != wanted or (not wanted and result.value):
            name = errno.errorcode.get(wanted, "0")
            raise CheckFailed(f"{what}: {result}, not {'-' * bool(wanted)}{name}")

    def prove(self) -> None:
        """Prove that the module's hooks work: that it takes commands, and serves exit_group.

        A module that loads and whose hooks never fire is the most common failure of its
        kind, such as on a kernel that does not dispatch through the table that it patches.

        Raises:
            CheckFailed: a hook does not work.
        """
        custom = self.interface.custom_syscall
        answer = self.command(_NO_COMMAND, custom)
        if answer.errno != errno.EINVAL:
            raise CheckFailed(
                f"{self.name} loads, but its hook on system call {custom} does not fire: an"
                f" unknown command gives {answer}, not -EINVAL. This kernel may not dispatch"
                " through the table that the module changes"
            )
        with self.intercepted("exit_group"):
            victim = self.guest.actor()
            self.expect(self.start("exit_group", victim.pid), 0, "start exit_group")
            mark = self.guest.log.mark()
            victim.exit()
            victim.reap()
            logged = [call.pid for call in self.logged(mark)]
            if logged != [victim.pid]:
                raise CheckFailed(
                    f"{self.name} loads, but a monitored process's exit_group is not served:"
                    f" the log has {counted(len(logged), 'line')} of it, not 1"
                )


def load(guest: Guest, folder: Path = MODULE, /, **parameters: str | int) -> Interceptor:
    """Build, inspect and load the interceptor, and prove that its hooks work.

    Args:
        guest: where.
        folder: with the module's source.
        **parameters: the module's.

    Raises:
        UsageError: a module of that name is loaded already.
        ModuleRefused: it can't be loaded, or a hook does not work: then it is unloaded again.
    """
    interface = Interface.load(folder, guest.syscalls)
    loaded = Interceptor(guest, interface, guest.load(folder, **parameters).name)
    try:
        loaded.prove()
    except CheckFailed as error:
        try:
            loaded.unload()
        except HarnessError as other:
            raise ModuleRefused(f"{error}; nor can it be unloaded: {other}") from error
        raise ModuleRefused(f"{error}; unloaded again") from error
    return loaded


def attach(guest: Guest, folder: Path, name: str) -> Interceptor:
    """The interceptor that is loaded in a guest already.

    Args:
        guest: where.
        folder: with the module's source.
        name: what the kernel calls it.

    Raises:
        UsageError: it is not loaded.
    """
    if not guest.is_loaded(name):
        raise UsageError(f"{name} is not loaded: pyharness load")
    return Interceptor(guest, Interface.load(folder, guest.syscalls), name)
