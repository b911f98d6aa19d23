# SPDX-License-Identifier: GPL-2.0
"""The interceptor, loaded in a guest: its four commands, its log lines and its status file."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pyharness.errors import CheckFailed, GuestError, HarnessError, ModuleRefused, UsageError
from pyharness.guest.actor import Actor
from pyharness.guest.guest import Guest
from pyharness.guest.loaded import LoadedModule
from pyharness.guest.result import Result
from pyharness.host.bundled import MODULE
from pyharness.interceptor import call_log, status
from pyharness.interceptor.call_log import Call
from pyharness.interceptor.interface import Command, Interface
from pyharness.linux.syscalls import SyscallName, SyscallRef, errno_name

# The value of the parameter log for lines of the kernel log.
LOG_LINES = "printk"
_NO_COMMAND = 99  # a value that is no command
# The custom system call, which takes commands, in each ABI other than the kernel's own.
_CUSTOM = "restart_syscall"


class Interceptor(LoadedModule):
    """The interceptor, loaded in a guest.

    Attributes:
        guest: the guest in which it is loaded.
        interface: the numbers of its header.
    """

    def __init__(self, guest: Guest, interface: Interface, name: str) -> None:
        """Represent the interceptor that is loaded in a guest under a name."""
        super().__init__(guest.run, name)
        self.guest = guest
        self.interface = interface

    def command(
        self, command: Command | int, call: SyscallName, pid: int = 0, *, by: Actor | None = None
    ) -> Result:
        """Issue a command by the custom system call, as any process would.

        Args:
            command: the command, or a number, which need not be one of the module's commands.
            call: the system call that the command is about. The command itself is issued
                through the same ABI.
            pid: the process that the command is about; 0: all processes.
            by: the actor that issues the command; None: one of root's.

        Returns:
            The result of the custom system call. An error raises nothing; see expect().
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
        """Intercept a system call, by the command REQUEST_SYSCALL_INTERCEPT.

        Args:
            call: the system call.
            by: the actor that issues the command; None: one of root's.

        Returns:
            The result of the custom system call. An error raises nothing; see expect().
        """
        return self.command(Command.INTERCEPT, call, by=by)

    def release(self, call: SyscallName, *, by: Actor | None = None) -> Result:
        """End the interception of a system call, by the command REQUEST_SYSCALL_RELEASE.

        Args:
            call: the system call.
            by: the actor that issues the command; None: one of root's.

        Returns:
            The result of the custom system call. An error raises nothing; see expect().
        """
        return self.command(Command.RELEASE, call, by=by)

    def start(self, call: SyscallName, pid: int = 0, *, by: Actor | None = None) -> Result:
        """Start to log calls of an intercepted system call, by REQUEST_START_MONITORING.

        Args:
            call: the system call.
            pid: the process whose calls are logged; 0: all processes.
            by: the actor that issues the command; None: one of root's.

        Returns:
            The result of the custom system call. An error raises nothing; see expect().
        """
        return self.command(Command.START, call, pid, by=by)

    def stop(self, call: SyscallName, pid: int = 0, *, by: Actor | None = None) -> Result:
        """Stop logging calls of an intercepted system call, by REQUEST_STOP_MONITORING.

        Args:
            call: the system call.
            pid: the process whose calls are not logged any more; 0: all processes.
            by: the actor that issues the command; None: one of root's.

        Returns:
            The result of the custom system call. An error raises nothing; see expect().
        """
        return self.command(Command.STOP, call, pid, by=by)

    @contextmanager
    def intercepted(self, *calls: SyscallName) -> Iterator[None]:
        """Intercept system calls until the ``with`` block ends.

        Args:
            *calls: the system calls.

        Raises:
            CheckFailed: one of them can't be intercepted; the others are released again.
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
        """Return the calls that the module has logged since a mark of ``guest.log.mark()``."""
        return list(call_log.calls(self.guest.log.since(mark), self.guest.syscalls))

    def status(self) -> dict[SyscallRef, status.Intercepted]:
        """Read the status file: the intercepted system calls, and the monitored processes.

        Raises:
            CheckFailed: the module has no status file, or the file has an unknown line.
        """
        if self.interface.status is None:
            raise CheckFailed(f"{self.name} has no status file")
        return status.parse(self.guest.agent.read(self.interface.status), self.guest.syscalls)

    def channel(self) -> str:
        """Return where the module records monitored calls: its parameter ``log``.

        Returns:
            ``printk``, ``event``, ``both`` or ``ring``; also ``printk`` if the module lacks the
            parameter.
        """
        try:
            return self.guest.agent.read(self._log).strip()
        except GuestError:
            return LOG_LINES

    def choose(self, channel: str) -> None:
        """Have the module record monitored calls elsewhere from now on.

        Args:
            channel: a value of its parameter ``log``.

        Raises:
            CheckFailed: the module refuses it.
        """
        self.guest.run(f"echo {channel} > {self._log}").check()

    @property
    def _log(self) -> str:
        return f"/sys/module/{self.name}/parameters/log"

    @contextmanager
    def _logging(self) -> Iterator[None]:
        """Have the module write lines into the kernel log until the ``with`` block ends."""
        before = self.channel()
        if before in (LOG_LINES, "both"):
            yield
            return
        self.choose(LOG_LINES)
        try:
            yield
        finally:
            self.choose(before)

    @staticmethod
    def expect(result: Result, wanted: int, what: str) -> None:
        """Make sure that a command had the result that was wanted.

        Args:
            result: the result of the command.
            wanted: 0 for success, or the number of the error that is wanted.
            what: the command in words, for the message.

        Raises:
            CheckFailed: it had another result.
        """
        if result.errno != wanted or (not wanted and result.value):
            name = f"-{errno_name(wanted)}" if wanted else "0"
            raise CheckFailed(f"{what}: {result}, not {name}")

    def prove(self) -> None:
        """Prove that the module's hooks work: it takes commands, and logs an exit_group call.

        The most common failure of such a module is that it loads, but its hooks never run: for
        example, on a kernel that does not dispatch through the table that the module patches.

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
        with self._logging(), self.intercepted("exit_group"):
            victim = self.guest.actor()
            self.expect(self.start("exit_group", victim.pid), 0, "start exit_group")
            mark = self.guest.log.mark()
            victim.exit()
            victim.reap()
            logged = [call.pid for call in self.logged(mark)]
            if logged != [victim.pid]:
                raise CheckFailed(
                    f"{self.name} loads, but the exit_group call of a monitored process is not"
                    f" logged: expected 1 line, found {len(logged)}"
                )


def load(guest: Guest, folder: Path = MODULE, /, **parameters: str | int) -> Interceptor:
    """Build, check and load the interceptor, and prove that its hooks work.

    Args:
        guest: the guest.
        folder: the folder with the module's source.
        **parameters: the module's parameters.

    Returns:
        The loaded interceptor.

    Raises:
        CheckFailed: the build failed.
        UsageError: a module of that name is loaded already, or the folder has no usable
            ``interceptor.h``.
        ModuleRefused: the kernel would not load the module, or refused it; or a hook does not
            work, and the module was unloaded again.
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
    """Return the interceptor that is loaded in a guest already.

    Args:
        guest: the guest.
        folder: the folder with the module's source, for its header.
        name: the module's name in the kernel.

    Raises:
        UsageError: it is not loaded, or the folder has no usable ``interceptor.h``.
    """
    if not guest.is_loaded(name):
        raise UsageError(f"{name} is not loaded: pyharness load")
    return Interceptor(guest, Interface.load(folder, guest.syscalls), name)
