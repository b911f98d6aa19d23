# SPDX-License-Identifier: GPL-2.0
"""One QEMU process: its command line, its monitor (QMP), its end.

A machine is a folder with all that belongs to it. QEMU runs in that folder, so
that its sockets have short names; ``machine.json`` says which process it is,
for whoever comes later to use it or to end it.
"""

import asyncio
import json
import os
import re
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import NoneType
from typing import Any

import psutil
from qemu.qmp import ConnectError, QMPClient, QMPError

from pyharness.errors import GuestError, GuestTimeout, HostError
from pyharness.host import json_store
from pyharness.host.cpu_time import Clock
from pyharness.host.programs import began, die_with_parent, environment, free_port, requires, run
from pyharness.machine import command_line
from pyharness.machine.accelerator import Accelerator
from pyharness.machine.command_line import CONSOLE_LOG, CONSOLE_SOCKET, QMP_SOCKET
from pyharness.machine.guest_specs import GuestSpec
from pyharness.machine.image import Image, user_key
from pyharness.transport.console import Console
from pyharness.transport.ssh import Ssh

SOCKETS = (CONSOLE_SOCKET, QMP_SOCKET)
QEMU_LOG = "qemu.log"
FACTS = "machine.json"
# A guest answers by SSH in 3 s after its boot, or its start from a saved state, under emulation;
# the limit is some times that, in seconds of real hardware (60 s emulated).
ANSWER_SECONDS = 10.0
_QMP_SECONDS = 60.0
_START_SECONDS = 30.0
_END_SECONDS = 10.0
# Loading a state takes 1 to 3 s on an idle machine; counted while QEMU can run.
_THAW_SECONDS = 60.0
_SAVING = "state.new"
_GROWN = 1 << 20  # bytes
_STATE_BEGIN = b"QEVM"
_LAST_LINES = 12

# The processes that this one started: their ends are for it to take note of.
_started: dict[int, "subprocess.Popen[bytes]"] = {}


def _text(log: Path) -> str:
    """What a log has, empty if there is none."""
    try:
        return log.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return ""


def _refusal(file: Path) -> str:
    """Why a file can't grow, empty if it can: QEMU does not pass on what its writer met."""
    try:
        with file.open("ab") as grown:
            grown.write(bytes(_GROWN))
    except OSError as error:
        return error.strerror or str(error)
    return ""


def is_state(file: Path) -> bool:
    """Whether a file may have a machine's saved state; of an empty one QEMU 7.2 reads for ever."""
    try:
        with file.open("rb") as state:
            return state.read(len(_STATE_BEGIN)) == _STATE_BEGIN
    except FileNotFoundError:
        return False


def make_overlay(disk: Path, backing: Path, form: str) -> None:
    """Make a disk that holds only what differs from another."""
    run("qemu-img", "create", "-q", "-f", "qcow2", "-F", form, "-b", str(backing), str(disk))


def instruction_pointers(registers: str) -> list[int]:
    """Where each CPU is, by what QEMU's monitor prints of all their registers. Pure."""
    return [int(found, 16) for found in re.findall(r"\b(?:[ER]IP|PC)=([0-9a-f]+)", registers)]


# What machine.json has.
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
        folder: all that belongs to it.
        guest: the guest's name.
        accel: ``kvm`` or ``tcg``.
        port: the port of 127.0.0.1 that leads to the guest's SSH.
        pid: QEMU's process.
        began: when that began, see host.began(): a number that is used again is not
            taken for it.
        owner: the process that it ends with, or None if it stays.
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
        image: Image,
        accel: Accelerator,
        *,
        folder: Path,
        persistent: bool,
        incoming: str | None = None,
    ) -> "Machine":
        """Start QEMU in a folder that has its ``disk.qcow2``.

        Args:
            spec: the guest.
            image: its image.
            accel: how its instructions are carried out.
            folder: the machine's.
            persistent: it outlives this process, until somebody ends it.
            incoming: see command_line.for_guest().

        Raises:
            HostError: QEMU doesn't start; the message is QEMU's.
        """
        requires(spec.qemu)
        for _ in range(5):
            port = free_port()
            line = command_line.for_guest(spec, image, accel, port=port, incoming=incoming)
            for left in SOCKETS:
                (folder / left).unlink(missing_ok=True)
            with (folder / QEMU_LOG).open("wb") as log:
                process = subprocess.Popen(
                    line if persistent else die_with_parent(line),
                    cwd=folder,
                    env=environment(),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=persistent,
                )
            _started[process.pid] = process
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
            if machine._is_up(process):
                return machine
            said = machine._said()
            if "Could not set up host forwarding rule" not in said:  # the port was taken
                break
        raise HostError(f"{spec.qemu} does not start: {said or 'it said nothing'}")

    def _is_up(self, process: "subprocess.Popen[bytes]") -> bool:
        """Wait until QEMU answers (True) or has ended."""
        end = time.monotonic() + _START_SECONDS
        while process.poll() is None:
            if (self.folder / QMP_SOCKET).exists():
                return True
            if time.monotonic() > end:
                process.kill()
            time.sleep(0.01)
        return False

    def _remember(self) -> None:
        facts = {key: value for key, value in asdict(self).items() if key != "folder"}
        making = self.folder / (FACTS + ".new")
        making.write_text(json.dumps(facts), encoding="utf-8")
        making.rename(self.folder / FACTS)

    @classmethod
    def of(cls, folder: Path) -> "Machine | None":
        """The machine of a folder; None if none was ever started there."""
        facts = json_store.read(folder / FACTS, _KINDS)
        return cls(folder=folder, **facts) if facts else None

    @property
    def console_log(self) -> Path:
        """All that came out of the serial console."""
        return self.folder / CONSOLE_LOG

    def console(self, *, timeout_factor: float = 1.0) -> Console:
        """Connect to the root shell on its serial console.

        Args:
            timeout_factor: what time limits are multiplied by.
        """
        return Console(
            self.folder, self.guest, timeout_factor=timeout_factor, clock=Clock(self.pid)
        )

    def ssh(self, image: Image, *, watch: Callable[[], object] = lambda: None) -> Ssh:
        """A connection to the guest by SSH, which is not connected yet.

        Args:
            image: the guest's, which has the host key.
            watch: see Ssh.
        """
        return Ssh(
            "127.0.0.1",
            self.port,
            key=user_key(),
            host_key=image.host_key,
            watch=watch,
            clock=Clock(self.pid),
        )

    def _said(self) -> str:
        """What QEMU itself has said."""
        return _text(self.folder / QEMU_LOG).strip()

    def last_words(self) -> str:
        """The end of what came out of the serial console, and what QEMU itself has said."""
        lines = _text(self.console_log).splitlines()[-_LAST_LINES:]
        return "\n".join(filter(None, (*map(str.rstrip, lines), self._said())))

    def _process(self) -> psutil.Process | None:
        try:
            process = psutil.Process(self.pid)
            same = began(self.pid) == self.began
            return process if same and process.status() != psutil.STATUS_ZOMBIE else None
        except psutil.NoSuchProcess:
            return None

    @property
    def alive(self) -> bool:
        """Whether its QEMU still runs."""
        return self._process() is not None

    @property
    def orphaned(self) -> bool:
        """Whether the process that it belongs to is gone."""
        return self.owner is not None and not psutil.pid_exists(self.owner)

    def end(self) -> None:
        """End it; nothing happens if it has ended."""
        if process := self._process():
            process.kill()
            end = time.monotonic() + _END_SECONDS
            while self.alive:  # not until it's gone: it may be a child that nobody waits for
                if time.monotonic() > end:
                    raise HostError(f"QEMU process {self.pid} does not end")
                time.sleep(0.01)
        if started := _started.pop(self.pid, None):
            started.wait()

    def qmp(self, *commands: str | tuple[str, dict[str, Any]]) -> Any:
        """Give QEMU commands; the last one's answer.

        Raises:
            GuestError: QEMU is gone, or refuses.
            GuestTimeout: it does not answer.
        """

        async def converse() -> Any:
            client = QMPClient("pyharness")
            # A path by way of an open folder is short, however long the folder's own is.
            folder = os.open(self.folder, os.O_PATH)
            try:
                await self._connect(client, f"/proc/self/fd/{folder}/qmp.sock")
            finally:
                os.close(folder)
            try:
                answer: Any = None
                for command in commands:
                    name, arguments = command if isinstance(command, tuple) else (command, None)
                    answer = await client.execute(name, arguments)
                return answer
            finally:
                await client.disconnect()

        try:
            return asyncio.run(asyncio.wait_for(converse(), _QMP_SECONDS))
        except TimeoutError as error:
            raise GuestTimeout(f"QEMU of {self.guest} does not answer its monitor") from error
        except (QMPError, OSError) as error:
            raise GuestError(f"QEMU of {self.guest} can't be asked: {error}") from error

    async def _connect(self, client: QMPClient, path: str) -> None:
        """Connect; between QEMU's bind() and its listen() the socket is there and refuses."""
        end = time.monotonic() + _START_SECONDS
        while True:
            try:
                return await client.connect(path)
            except ConnectError as error:
                refused = isinstance(error.exc, ConnectionRefusedError)
                if not refused or not self.alive or time.monotonic() > end:
                    raise
            await asyncio.sleep(0.01)

    def status(self) -> str:
        """QEMU's run state: ``running``, ``paused``, ``guest-panicked`` …, or ``ended``."""
        if not self.alive:
            return "ended"
        return str(self.qmp("query-status")["status"])

    def check_disk(self) -> None:
        """Make sure that what the guest writes can be kept.

        Raises:
            HostError: there was no room for it, so QEMU has stopped the guest.
        """
        with suppress(GuestError):  # it is another's to notice that QEMU has ended
            if self.status() == "io-error":
                raise self.no_room()

    def no_room(self) -> HostError:
        """The error for what check_disk() looks for."""
        return HostError(f"no room left in {self.folder}: make room, then pyharness reset")

    def save(self, state: Path) -> None:
        """Stop it and save its state to a file. It can't go on after that.

        Args:
            state: the file, in the machine's folder.

        Raises:
            HostError: the state could not be written, so there is no such file; the
                machine is stopped, and can go on.
        """
        # Under another name until it is whole; a shell reads that name.
        self.qmp("stop", ("migrate", {"uri": f"exec:cat > {_SAVING}"}))
        end = time.monotonic() + _QMP_SECONDS
        while (status := self.qmp("query-migrate")["status"]) != "completed":
            if status in ("failed", "cancelled") or time.monotonic() > end:
                why = _refusal(self.folder / _SAVING) or f"migration {status}"
                (self.folder / _SAVING).unlink(missing_ok=True)
                raise HostError(
                    f"the state of {self.guest} can't be saved in {self.folder}: {why}:"
                    " make room there"
                )
            time.sleep(0.05)
        (self.folder / _SAVING).rename(state)

    def monitor(self, command: str) -> str:
        """Give QEMU a command of its monitor for people; what it printed.

        Raises:
            GuestError: it says that it can't.
        """
        said = str(self.qmp(("human-monitor-command", {"command-line": command}))).strip()
        if said.startswith("Error"):
            raise GuestError(f"QEMU of {self.guest}: {said}")
        return said

    def instruction_pointers(self) -> list[int]:
        """Where each of its CPUs is, whatever its kernel is able to say.

        Raises:
            GuestError: see qmp().
        """
        return instruction_pointers(self.monitor("info registers -a"))

    def wait_running(self, *, fix: str) -> None:
        """Wait until a saved state is loaded, and go on from it.

        Args:
            fix: what to do if QEMU can't, for the error's message.

        Raises:
            HostError: QEMU can't load it.
        """
        clock = Clock(self.pid)
        while (status := self._thawing()) != "running":
            if status == "paused":  # as it was saved
                self.qmp("cont")
            if status in ("ended", "failed") or clock() > _THAW_SECONDS:
                said = self._said() or f"it is {status}"
                raise HostError(f"QEMU can't go on from the saved state: {said}: {fix}")
            time.sleep(0.02)

    def _thawing(self) -> str:
        """How far QEMU is with a saved state; ``failed`` or ``ended`` if it can't load it."""
        try:
            if (status := self.status()) == "inmigrate":
                loading = str(self.qmp("query-migrate").get("status"))
                return "failed" if loading == "failed" else status
        except GuestError:  # it may just be ending
            return "silent" if self.alive else "ended"
        return status
