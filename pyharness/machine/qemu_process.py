# SPDX-License-Identifier: GPL-2.0
"""One QEMU process: start it, talk to its monitor (QMP), save its state, end it.

A machine is a folder with everything that belongs to it. QEMU runs in that folder, so that the
paths of its sockets are short. ``machine.json`` identifies the process, so that other processes
can use or end it later.
"""

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import NoneType
from typing import Any

import psutil

from pyharness.errors import GuestError, HostError, UsageError
from pyharness.host import children, file_lock, json_store
from pyharness.host.cache import RUN_VARIABLE
from pyharness.host.cpu_time import Clock
from pyharness.host.programs import began, free_port, pid_space, requires, run
from pyharness.machine import command_line, gdb_stub, qmp
from pyharness.machine.accelerator import Accelerator
from pyharness.machine.command_line import CONSOLE_LOG, CONSOLE_SOCKET, QMP_SOCKET
from pyharness.machine.guest_specs import GuestSpec
from pyharness.machine.image import Image, user_key
from pyharness.machine.kernel import Kernel
from pyharness.transport.console import Console
from pyharness.transport.ssh import Ssh

SOCKETS = (CONSOLE_SOCKET, QMP_SOCKET, gdb_stub.SOCKET)
# The run state of a guest that is at a breakpoint, and those in which gdb may look at one.
DEBUGGED = "debug"
_STOPPED = (DEBUGGED, "paused", "guest-panicked")
QEMU_LOG = "qemu.log"
FACTS = "machine.json"
# A lock, which QEMU holds for as long as it runs, and so does the process that it ends with.
LOCK = "machine.lock"
# The files in a machine's folder that mean nothing any more when QEMU has ended.
OF_PROCESS = (FACTS, LOCK, *SOCKETS, QEMU_LOG)
# The status of a machine in another container, or on another host, that uses the same folders.
ELSEWHERE = "elsewhere"
# Under emulation a guest answers by SSH within 3 s after it has booted, or was started from a saved
# state. The limit is several times that, in seconds of real hardware (60 s emulated).
ANSWER_SECONDS = 10.0
# The time limits of a conversation by QMP, of QEMU's start, and of its end.
_QMP_SECONDS = 60.0
_START_SECONDS = 30.0
_END_SECONDS = 10.0
# How much of the console's output last_words() returns.
_LAST_LINES = 12

# The processes that this process started, by id, which it must wait for when they end; and what
# holds the locks of those machines that end with this process.
_started: dict[int, "subprocess.Popen[bytes]"] = {}
_locks: dict[int, ExitStack] = {}


def _text(log: Path) -> str:
    """The text of a log; empty if there is none."""
    try:
        return log.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return ""


def _kill(process: "subprocess.Popen[bytes]") -> None:
    process.kill()
    process.wait()


def make_overlay(disk: Path, backing: Path, form: str) -> None:
    """Create a disk that holds only what differs from another.

    Args:
        disk: the file to create, in the format qcow2.
        backing: the file of the other disk.
        form: the format of the other disk, ``raw`` or ``qcow2``.

    Raises:
        HostError: the disk can't be created.
    """
    run("qemu-img", "create", "-q", "-f", "qcow2", "-F", form, "-b", str(backing), str(disk))


# The type of each field of machine.json.
_KINDS = {
    "guest": str,
    "accel": str,
    "port": int,
    "pid": int,
    "began": str,
    "owner": int | NoneType,
}


@dataclass(frozen=True, kw_only=True)
class Machine:
    """A QEMU process, running or not.

    Attributes:
        folder: everything that belongs to the machine.
        guest: the guest's name.
        accel: ``kvm`` or ``tcg``.
        port: the port of 127.0.0.1 that is forwarded to the guest's SSH.
        pid: the id of QEMU's process.
        began: when that process began, as programs.began() returns it; it distinguishes the
            process from a later one with the same id.
        owner: the id of the process with which the machine ends; None if it is persistent.
    """

    folder: Path
    guest: str
    accel: str
    port: int
    pid: int
    began: str
    owner: int | None

    @classmethod
    def start(
        cls,
        spec: GuestSpec,
        kernel: Kernel,
        accel: Accelerator,
        *,
        folder: Path,
        persistent: bool,
        incoming: str | None = None,
    ) -> "Machine":
        """Start QEMU in a folder that has its ``disk.qcow2``.

        Args:
            spec: the guest's description.
            kernel: the guest's kernel.
            accel: how the guest's instructions are executed.
            folder: the machine's folder.
            persistent: whether the machine outlives this process.
            incoming: the name of a file in the folder, with a saved state to resume from; None
                to boot.

        Raises:
            HostError: QEMU doesn't start; the message has QEMU's output.
        """
        requires(spec.qemu)
        with ExitStack() as locked:
            lock = file_lock.hold(folder / LOCK)
            locked.callback(os.close, lock)
            for _ in range(5):
                machine = cls._launch(
                    spec, kernel, accel, folder, lock, persistent=persistent, incoming=incoming
                )
                if machine._is_up():
                    if not persistent:
                        _locks[machine.pid] = locked.pop_all()
                    return machine
                said = machine.printed()
                if "Could not set up host forwarding rule" not in said:  # the port is taken by now
                    break
        raise HostError(f"{spec.qemu} does not start: {said or 'it printed nothing'}")

    @classmethod
    def _launch(
        cls,
        spec: GuestSpec,
        kernel: Kernel,
        accel: Accelerator,
        folder: Path,
        lock: int,
        *,
        persistent: bool,
        incoming: str | None,
    ) -> "Machine":
        """Start QEMU's process, which inherits the lock, with a port that nobody uses now."""
        port = free_port()
        line = command_line.for_guest(spec, kernel, accel, port=port, incoming=incoming)
        for left in SOCKETS:
            (folder / left).unlink(missing_ok=True)
        with (folder / QEMU_LOG).open("wb") as log:
            process = children.start(
                line,
                outlives=persistent,
                cwd=folder,
                stdout=log,
                stderr=log,
                # Ctrl-C at the terminal is for this process, which ends QEMU.
                start_new_session=True,
                pass_fds=[lock],
            )
        _started[process.pid] = process
        try:
            machine = cls(
                folder=folder,
                guest=spec.name,
                accel=accel.name,
                port=port,
                pid=process.pid,
                began=began(process.pid),
                owner=None if persistent else os.getpid(),
            )
            machine._remember()
        except BaseException:  # the caller does not get to know the process
            _kill(process)
            raise
        return machine

    def _is_up(self) -> bool:
        """Wait until QEMU has created its QMP socket (True) or has ended (False)."""
        process = _started[self.pid]
        end = time.monotonic() + _START_SECONDS
        try:
            while process.poll() is None:
                if (self.folder / QMP_SOCKET).exists():
                    return True
                if time.monotonic() > end:
                    process.kill()
                time.sleep(0.01)
        except BaseException:  # the caller does not get to know the process
            _kill(process)
            raise
        return False

    def _remember(self) -> None:
        facts = {key: value for key, value in asdict(self).items() if key != "folder"}
        json_store.write(self.folder / FACTS, facts)

    @classmethod
    def of(cls, folder: Path) -> "Machine | None":
        """The machine in a folder; None if none was ever started there."""
        facts = json_store.read(folder / FACTS, _KINDS)
        return cls(folder=folder, **facts) if facts else None

    @property
    def console_log(self) -> Path:
        """The file with all output of the serial console."""
        return self.folder / CONSOLE_LOG

    def console(self, *, timeout_factor: float = 1.0) -> Console:
        """Connect to the root shell on the machine's serial console.

        Args:
            timeout_factor: the factor by which time limits are multiplied.

        Raises:
            GuestError: the console can't be connected to, as when the machine has ended.
        """
        return Console(
            self.folder, self.guest, timeout_factor=timeout_factor, clock=Clock(self.pid)
        )

    def ssh(self, image: Image, *, watch: Callable[[], object] = lambda: None) -> Ssh:
        """Prepare an SSH connection to the guest, which the caller then makes by its connect().

        Args:
            image: the guest's image, which has the public key of its SSH server.
            watch: called now and then while the guest is waited for; raises to give up.
        """
        return Ssh(
            "127.0.0.1",
            self.port,
            key=user_key(),
            host_key=image.host_key,
            watch=watch,
            clock=Clock(self.pid),
        )

    def printed(self) -> str:
        """Return the output of QEMU itself, which has nothing of the guest's."""
        return _text(self.folder / QEMU_LOG).strip()

    def last_words(self) -> str:
        """The end of the serial console's output, and then the output of QEMU itself."""
        lines = _text(self.console_log).splitlines()[-_LAST_LINES:]
        return "\n".join(filter(None, (*map(str.rstrip, lines), self.printed())))

    def _process(self) -> psutil.Process | None:
        try:
            process = psutil.Process(self.pid)
            same = began(self.pid) == self.began
            return process if same and process.status() != psutil.STATUS_ZOMBIE else None
        except psutil.NoSuchProcess:
            return None

    @property
    def here(self) -> bool:
        """Whether this process sees the machine's processes, or would if they still ran.

        It does not see those of another container, or of another host, that uses the same folders.
        """
        return self.began.startswith(f"{pid_space()}:")

    @property
    def alive(self) -> bool:
        """Whether the machine's QEMU runs."""
        return self._process() is not None if self.here else self._is_locked()

    @property
    def orphaned(self) -> bool:
        """Whether the process with which the machine was to end is gone."""
        if self.owner is None:
            return False
        return not psutil.pid_exists(self.owner) if self.here else not self._is_locked()

    def _is_locked(self) -> bool:
        return file_lock.is_held(self.folder / LOCK)

    def check_here(self) -> None:
        """Check that the machine does not run where this process can't reach it.

        Raises:
            UsageError: it does.
        """
        if not self.here and self.alive:
            raise UsageError(
                f"{self.folder.name} runs in another container or on another host: pyharness down"
                f" {self.guest} ends it there; or name another folder in {RUN_VARIABLE}"
            )

    def end(self) -> None:
        """Kill QEMU, and wait until it has ended; nothing happens if it has already.

        Raises:
            UsageError: QEMU runs in another container or on another host.
            HostError: QEMU does not end.
        """
        self.check_here()
        if process := self._process():
            process.kill()
            end = time.monotonic() + _END_SECONDS
            while self.alive:  # a zombie has ended: its parent may not wait for it
                if time.monotonic() > end:
                    raise HostError(f"QEMU process {self.pid} does not end")
                time.sleep(0.01)
        if started := _started.pop(self.pid, None):
            started.wait()
        if lock := _locks.pop(self.pid, None):
            lock.close()

    def qmp(self, *commands: qmp.Command, seconds: float = _QMP_SECONDS) -> Any:
        """Run QMP commands, one after another.

        Args:
            commands: the name of each command, or a tuple of its name and arguments.
            seconds: the time limit for all of them.

        Returns:
            The last command's result.

        Raises:
            GuestError: QEMU is gone, or refuses a command.
            GuestTimeout: QEMU does not answer.
        """
        return qmp.execute(
            self.folder,
            *commands,
            guest=self.guest,
            alive=lambda: self.alive,
            seconds=seconds,
        )

    def status(self) -> str:
        """QEMU's run state: ``running``, ``paused``, ``guest-panicked`` …, or ``ended``.

        It is ``elsewhere`` for a machine that runs in another container or on another host.
        It is ``debug`` for as long as gdb has stopped the guest, or looks at one that panicked. A
        guest that was stopped by a gdb that was killed runs on.
        """
        if not self.alive or not self.here:
            return ELSEWHERE if self.alive else "ended"
        try:
            status = self._state()
        except GuestError:
            if self.alive:
                raise
            return "ended"
        if status not in _STOPPED:
            return status
        if gdb_stub.is_used(self.folder):
            return DEBUGGED
        left = (self.folder / gdb_stub.SOCKET).exists()
        if status == DEBUGGED or (status == "paused" and left):
            self._close_stub()
            return self._state()
        return status

    def _state(self) -> str:
        return str(self.qmp("query-status")["status"])

    @contextmanager
    def gdb_server(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Let gdb connect during a block. A guest that ran before it runs on afterwards.

        Yields:
            The path of the socket, and the file descriptors that gdb has to inherit: the path
            refers to one, and another one holds the lock.

        Raises:
            UsageError: another gdb debugs the guest, or QEMU was given a stub of its own.
            GuestError: QEMU is gone, or can't wait for gdb.
            GuestTimeout: QEMU does not answer.
        """
        if (lock := gdb_stub.take(self.folder)) is None:
            raise UsageError(f"another gdb debugs {self.folder.name}: quit that one")
        folder, before = os.open(self.folder, os.O_PATH), ""
        try:
            self._close_stub()
            before = self._state()
            self._open_stub()
            yield f"/proc/self/fd/{folder}/{gdb_stub.SOCKET}", (folder, lock)
        finally:
            try:
                if self.alive:
                    self._close_stub()
                    if before == "paused":  # by somebody else
                        self.qmp("stop")
            finally:
                os.close(folder)
                os.close(lock)

    def _close_stub(self) -> None:
        """Remove QEMU's stub for gdb, if there is one, and what gdb has left: breakpoints.

        A guest that gdb has stopped runs on; one that has panicked does not.
        """
        left = self._state() == DEBUGGED  # at a breakpoint, so that there is one
        if left and not (self.folder / gdb_stub.SOCKET).exists():
            self._open_stub()
        if (self.folder / gdb_stub.SOCKET).exists():
            if self._state() != "guest-panicked":
                try:
                    gdb_stub.detach(self.folder)
                except OSError as error:
                    said = f"QEMU of {self.guest} does not answer as gdb's stub: {error}"
                    raise GuestError(said) from error
            self.monitor("gdbserver none")
            (self.folder / gdb_stub.SOCKET).unlink(missing_ok=True)

    def _open_stub(self) -> None:
        said = self.monitor(f"gdbserver unix:{gdb_stub.SOCKET},server=on,wait=off")
        if "Waiting for gdb" not in said:
            raise UsageError(f"gdb can't be connected to {self.folder.name}: {said}")

    def check_no_gdb(self) -> None:
        """Check that no gdb debugs the guest.

        Raises:
            UsageError: one does.
        """
        if gdb_stub.is_used(self.folder):
            raise UsageError(f"gdb debugs {self.folder.name}: quit it first")

    def check_disk(self) -> None:
        """Check that QEMU has not stopped the guest because its writes fail.

        Raises:
            HostError: it has, as this host's disk is full.
        """
        with suppress(GuestError):  # if QEMU has ended, other code reports that
            if self.status() == "io-error":
                raise self.no_room()

    def no_room(self) -> HostError:
        """Return the error that check_disk() raises."""
        # A machine that ends with its process is started anew when that process is run again.
        then = f"pyharness reset {self.guest}" if self.owner is None else "try again"
        return HostError(f"the disk of {self.folder} is full: make room, then {then}")

    @contextmanager
    def resumed_on_error(self) -> Iterator[None]:
        """Resume a guest that ran before the block, if the block raises an exception."""
        ran = self._state() == "running"
        try:
            yield
        except BaseException:
            with suppress(GuestError):  # QEMU is gone, and the block's exception says more
                if ran:
                    self.qmp("cont")
            raise

    def monitor(self, command: str, *, seconds: float = _QMP_SECONDS) -> str:
        """Run a command of QEMU's human monitor (HMP), and return its output.

        Args:
            command: the command's line, such as ``info registers -a``.
            seconds: the time limit.

        Raises:
            GuestError: QEMU is gone, or the command failed.
            GuestTimeout: QEMU does not answer.
        """
        line = {"command-line": command}
        said = str(self.qmp(("human-monitor-command", line), seconds=seconds)).strip()
        if said.startswith("Error"):
            raise GuestError(f"QEMU of {self.guest}: {said}")
        return said
