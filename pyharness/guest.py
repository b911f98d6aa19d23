# SPDX-License-Identifier: GPL-2.0
"""A guest: commands, files, the kernel log, actors, and the module built and loaded."""

import shlex
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import NoReturn

from pyharness import abi, build, elf, guests, machines, oops
from pyharness.agent import Actor, Agent
from pyharness.build import Built, module_name
from pyharness.closing import Closes
from pyharness.console import Console
from pyharness.errors import (
    CheckFailed,
    GuestCrashed,
    GuestError,
    GuestTimeout,
    HarnessError,
    HostError,
    ModuleRefused,
    UsageError,
)
from pyharness.history import History
from pyharness.kernellog import KernelLog
from pyharness.lines import Lines
from pyharness.machines import Frozen
from pyharness.module import Loaded, Module
from pyharness.oops import Place
from pyharness.progress import Silent, Teller
from pyharness.qemu import Machine
from pyharness.ssh import Completed, Ssh
from pyharness.syscalls import Syscalls

_USUAL = 30.0
_BUILD = 120.0
# A second without a sign of life is unusual. The kernel itself tells of most
# hangs after 10 to 20 s (vm/rootfs/etc/sysctl.d), which is better than a guess.
_SILENCE = 15.0
_QUIET = 0.3
_REPORTS = 3
_ENOUGH = 1 << 19  # bytes of a console


class Guest(Closes):
    """A guest that runs. End it with close(), or use it as a context.

    Attributes:
        frozen: what it was started from.
        machine: its QEMU.
        syscalls: the names and numbers of its system calls.
        history: what it was asked to do last.
        closed: it was left: it can't be used from here any more.
    """

    def __init__(
        self,
        frozen: Frozen,
        machine: Machine,
        *,
        fresh: bool,
        way_in: Callable[[Callable[[], object]], Ssh] | None = None,
    ) -> None:
        """Enter a machine; boot() and attach() are the usual ways here.

        Args:
            frozen: what it was started from.
            machine: where it runs.
            fresh: it was thawed just now: it needs the time and randomness.
            way_in: makes the connection, if it isn't the usual one; given what to watch.
        """
        self.frozen = frozen
        self.machine = machine
        self.syscalls = Syscalls(frozen.spec.syscalls)
        self.history = History()
        self._lines: dict[str, Lines] = {}
        self._death: GuestCrashed | None = None
        self._paused = False
        self._console_from = self._console_seen = 0 if fresh else self.console_size()
        self.closed = False
        self._ssh = (
            way_in(self.check_alive)
            if way_in
            else machines.open_ssh(machine, frozen.image, watch=self.check_alive)
        )
        self.check_alive()
        try:
            self._ssh.connect(self.limit(30))
            if fresh:
                machines.settle(self._ssh, seconds=self.limit(10))
        except GuestError as error:
            self._lost(error)

    @classmethod
    def boot(
        cls,
        name: str = guests.DEFAULT_GUEST,
        *,
        cpus: int = 0,
        memory: int = 0,
        stays: bool = False,
        teller: Teller | None = None,
    ) -> "Guest":
        """Start a guest from its saved state; makes that first if there is none.

        Args:
            name: which one; ``pyharness list`` has them.
            cpus: how many it is to have, if not as many as usual.
            memory: likewise, in MiB.
            stays: it goes on when this process ends, until ``pyharness down``.
            teller: who hears of steps that last.
        """
        frozen = machines.freeze(guests.find(name, cpus=cpus, memory=memory), teller=teller)
        return cls(frozen, machines.thaw(frozen, stays=stays), fresh=True)

    @classmethod
    def attach(
        cls,
        name: str = guests.DEFAULT_GUEST,
        *,
        cpus: int = 0,
        memory: int = 0,
        teller: Teller | None = None,
    ) -> "Guest":
        """Enter the guest that stays; starts it if it does not run; see boot()."""
        teller = teller or Silent()
        if machine := machines.running(name):
            return cls(machines.frozen_of(machine), machine, fresh=False)
        state = machines.state_of(name)
        if state in ("suspended", "off"):
            teller.say(f"going on with {name}, which is {state}")
            machine = machines.start_again(name)
            return cls(machines.frozen_of(machine), machine, fresh=True)
        teller.say(f"starting {name}")
        return cls.boot(name, cpus=cpus, memory=memory, stays=True, teller=teller)

    def close(self) -> None:
        """Leave it; one that does not stay is ended."""
        self.leave()
        if self.machine.owner is not None:
            machines.end(self.machine)

    def leave(self) -> None:
        """Hang up, and let it run."""
        self.closed = True
        if self.machine.owner is None:
            with suppress(GuestError):
                self.resume()
        if "agent" in self.__dict__:
            self.agent.close()
        self._ssh.close()

    def pause(self) -> None:
        """Stop all its CPUs, and its time with them, until resume()."""
        if not self._paused:
            self.machine.qmp("stop")
            self._paused = True

    def resume(self) -> None:
        """Go on after pause(); nothing happens if it wasn't paused."""
        if self._paused:
            self.machine.qmp("cont")
            self._paused = False
            if "agent" in self.__dict__:
                self.agent.expect_sign()

    def clock(self) -> float:
        """Seconds in which it could run: what time limits are counted in."""
        return self._ssh.clock()

    def limit(self, seconds: float) -> float:
        """A time limit, longer where the guest is slower."""
        return seconds * self.frozen.accel.slowness

    def describe(self) -> str:
        """One line: guest, kernel, accelerator."""
        accel = self.frozen.accel
        return f"{self.frozen.spec.name}, kernel {self.frozen.image.release}, {accel.name}"

    # ---- trouble ----

    def console_size(self) -> int:
        """How much came out of the serial console, in bytes: a place to read it from."""
        try:
            return self.machine.console_log.stat().st_size
        except FileNotFoundError:
            return 0

    def console_text(self, since: int = 0) -> str:
        """What came out of the serial console from some place on, up to half a MiB.

        A kernel that reports its own reports' crashes can go on for ever.
        """
        try:
            with self.machine.console_log.open("rb") as log:
                log.seek(since)
                return log.read(_ENOUGH).decode(errors="replace")
        except FileNotFoundError:
            return ""

    def check_alive(self) -> None:
        """Make sure that its kernel lives and is well.

        QEMU tells of a panic; of all else that kills a kernel its console does,
        and of what silences even that, the want of the agent's signs of life.

        Raises:
            GuestCrashed: its kernel died, is in trouble, or hangs; or QEMU has ended.
            HostError: QEMU has stopped it.
        """
        if self._death:
            raise self._death
        status = self.machine.status()
        if status == "io-error":
            raise HostError(
                f"no room left in {self.machine.folder}: make room, then pyharness reset"
            )
        if status == "guest-panicked":
            self._let_speak()
            self._crashed("panicked")
        if status != "running":
            self._crashed(f"does not run any more ({status})")
        if self._has_died():
            self._crashed("is in trouble")
        if "agent" in self.__dict__ and (silent := self.agent.silence()) > _SILENCE:
            self._hangs(silent)

    def _has_died(self) -> bool:
        """Whether its console, since this process entered, tells of more than a warning."""
        if (size := self.console_size()) == self._console_seen:
            return False
        self._console_seen = size
        found = oops.reports(self.console_text(self._console_from))
        return any(report.kind != "warning" for report in found)

    def _hangs(self, silent: float) -> NoReturn:
        """Tell where the CPUs of a silent kernel are: QEMU knows, and an NMI makes it say so."""
        places = ""
        # Not every machine can be sent an NMI (arm64's can't).
        with suppress(GuestError):
            where = enumerate(self.machine.instruction_pointers())
            places = "".join(f"CPU {number} IP: {address:#x}\n" for number, address in where)
            self.machine.qmp("inject-nmi")
        end = time.monotonic() + self.limit(1)
        while self.machine.status() == "running" and time.monotonic() < end:
            time.sleep(0.1)
        if self.machine.status() == "guest-panicked":
            self._let_speak()
        self._crashed(f"hangs: no sign of life in {silent:.0f} s that it had", places)

    def _let_speak(self) -> None:
        """Let a kernel that has told QEMU of its panic go on to where it is at an end.

        In an exception that may come at any time (an NMI, a double fault) it prints nothing
        before that.
        """
        self.machine.qmp("cont")
        self._wait_for_console(quiet=4 * _QUIET)
        self.machine.qmp("stop")

    def _crashed(self, what: str, before: str = "") -> NoReturn:
        self._wait_for_console()
        found = oops.reports(self.console_text(self._console_from))
        found = found or oops.reports(self.console_text())
        # The first has the cause; of a storm, the rest is noise.
        report = self.with_lines(before + "\n\n".join(map(str, found[:_REPORTS])))
        self._death = GuestCrashed(
            f"the kernel of {self.describe()} {what}", report=report, history=str(self.history)
        )
        raise self._death

    def _wait_for_console(self, quiet: float = _QUIET) -> None:
        """Wait until no more comes for some seconds, and the last report is whole."""
        end = time.monotonic() + self.limit(2)
        size, before = self.console_size(), -1
        while size - self._console_from < _ENOUGH and time.monotonic() < end:
            if size == before and self._is_told():
                return
            time.sleep(quiet)
            size, before = self.console_size(), size

    def _is_told(self) -> bool:
        """Whether the console's last report is whole: a kernel may pause in it."""
        found = oops.reports(self.console_text(self._console_from))
        return not found or found[-1].whole

    def _lost(self, error: GuestError) -> NoReturn:
        """A crash outranks a lost connection, an actor that is gone, and a time limit."""
        try:
            self.check_alive()
        except GuestCrashed as crash:
            raise crash from error
        if isinstance(error, GuestTimeout):
            raise GuestTimeout(self.with_lines(str(error))) from error
        raise error

    def with_lines(self, report: str) -> str:
        """A report, each place in a module that was loaded from here told as file and line."""
        return oops.annotate(report, self._line_of)

    def _line_of(self, place: Place) -> str:
        if place.address:
            return next(
                filter(None, (known.where(place.address) for known in self._lines.values())), ""
            )
        known = self._lines.get(place.module)
        return known.of(place.function, place.offset, place.size) if known else ""

    # ---- a shell and files ----

    def run(
        self,
        command: str | Sequence[str],
        *,
        user: str = "root",
        seconds: float = _USUAL,
        stdin: bytes = b"",
    ) -> Completed:
        """Run a command to its end.

        Args:
            command: for the guest's shell, or a list of words.
            user: who runs it.
            seconds: how long it may take on real hardware.
            stdin: its standard input.

        Raises:
            GuestError: the guest does not answer, or crashed.
        """
        if user != "root":
            words = ["sh", "-c", command] if isinstance(command, str) else list(command)
            command = ["runuser", "-u", user, "--", *words]
        line = command if isinstance(command, str) else shlex.join(command)
        step = self.history.begin(f"shell: {line}")
        try:
            done = self._ssh.run(command, seconds=self.limit(seconds), stdin=stdin)
        except GuestError as error:
            self._lost(error)
        step.answer = f"exit status {done.status}"
        return done

    def put(self, data: bytes, target: str) -> None:
        """Write a file."""
        self._ssh.put(data, target, seconds=self.limit(_USUAL))

    def get(self, source: str) -> bytes:
        """Read a file."""
        return self._ssh.get(source, seconds=self.limit(_USUAL))

    def console(self) -> Console:
        """The root shell on its serial console."""
        return Console(self.machine, slowness=self.frozen.accel.slowness)

    @property
    def ssh(self) -> Ssh:
        """The way in, for commands whose streams somebody wants live."""
        return self._ssh

    # ---- who acts ----

    @cached_property
    def agent(self) -> Agent:
        """Who starts actors and reads the kernel log."""
        return Agent(
            self._ssh,
            seconds=self.limit(10),
            syscalls=self.syscalls,
            history=self.history,
            lost=self._lost,
        )

    def actor(self, user: str = "root") -> Actor:
        """Start a process of that user that does what it's told."""
        return self.agent.spawn(user)

    @cached_property
    def root(self) -> Actor:
        """An actor of root's that issues commands for whoever has none of their own."""
        return self.actor("root")

    def dismiss(self) -> None:
        """End all actors, whatever they do."""
        if "agent" in self.__dict__:
            self.agent.dismiss()
        self.__dict__.pop("root", None)

    @cached_property
    def log(self) -> KernelLog:
        """The kernel log, read from its oldest record that is still there."""
        return KernelLog(self.agent)

    # ---- the module ----

    def build(self, folder: Path, *, anew: bool = False) -> Built:
        """Build a module with the guest's headers, or take what was built from the same sources.

        Raises:
            CheckFailed: it does not build.
        """
        against = self.frozen.folder.name
        if not anew and (built := build.find(folder, against)):
            return built
        try:
            return build.build(
                folder,
                against,
                self._ssh,
                jobs=self.frozen.spec.cpus,
                seconds=self.limit(_BUILD),
            )
        except GuestError as error:
            self._lost(error)

    def inspect(self, ko: Path) -> elf.ModuleFile:
        """What a module's file says, once it's sure that this guest would load it.

        Raises:
            UsageError: there is no such file.
            ModuleRefused: the guest would not load it.
        """
        return inspect(ko, self.frozen)

    def is_loaded(self, name: str) -> bool:
        """Whether a module of that name is loaded."""
        return self.run(["test", "-d", f"/sys/module/{name}"]).status == 0

    def insmod(self, ko: Path, **parameters: str | int) -> None:
        """Inspect a module and load it.

        Raises:
            ModuleRefused: the guest would not load it, or did not.
        """
        self.inspect(ko)
        target, data = f"/root/{ko.name}", ko.read_bytes()
        name = module_name(ko)
        self.put(data, target)
        mark = self.log.mark()
        words = [f"{key}={value}" for key, value in parameters.items()]
        # Known by its functions even if it never comes back from its own init.
        self._lines[name] = Lines(data)
        done = self.run(
            f"insmod {shlex.join([target, *words])} && cd /sys/module/{name}/sections"
            ' && grep -H "" .*text*'
        )
        if done.status:
            said = "\n".join(record.text for record in self.log.since(mark))
            raise ModuleRefused(f"{done.stderr.strip()}\n{said}".strip())
        sections = (line.split(":") for line in done.stdout.splitlines())
        self._lines[name] = Lines(data, {section: int(at, 16) for section, at in sections})

    def insert(self, folder: Path, **parameters: str | int) -> Loaded:
        """Build, inspect and load a module, whatever it does.

        Raises:
            CheckFailed: it does not build.
            UsageError: a module of that name is loaded already.
            ModuleRefused: it can't be loaded.
        """
        built = self.build(folder)
        if self.is_loaded(built.name):
            raise UsageError(f"{built.name} is loaded already: pyharness unload")
        self.insmod(built.ko, **parameters)
        return Loaded(self, built.name)

    def module(self, folder: Path, name: str) -> Module:
        """The interceptor that is loaded.

        Raises:
            UsageError: it isn't.
        """
        if not self.is_loaded(name):
            raise UsageError(f"{name} is not loaded: pyharness load")
        return Module(self, abi.load(folder, self.syscalls), name)

    def load(self, folder: Path, **parameters: str | int) -> Module:
        """Build, inspect and load the interceptor, and prove that it took.

        Args:
            folder: of the module.
            **parameters: for the module.

        Raises:
            UsageError: a module of that name is loaded already.
            ModuleRefused: it can't be loaded, or does nothing: then it is unloaded again.
        """
        interface = abi.load(folder, self.syscalls)
        module = Module(self, interface, self.insert(folder, **parameters).name)
        try:
            module.prove()
        except CheckFailed as error:
            try:
                module.unload()
            except HarnessError as other:
                raise ModuleRefused(f"{error}; nor can it be unloaded: {other}") from error
            raise ModuleRefused(f"{error}; unloaded again") from error
        return module

    def wait(self, what: str, condition: Callable[[], object], *, seconds: float = 10.0) -> None:
        """Wait until a function without arguments is true.

        Args:
            what: is waited for, for the error's message.
            condition: the function.
            seconds: how long, on real hardware.

        Raises:
            CheckFailed: it never was.
        """
        end = time.monotonic() + self.limit(seconds)
        while not condition():
            if time.monotonic() > end:
                raise CheckFailed(f"waited in vain: {what}")
            time.sleep(0.05)


def inspect(ko: Path, frozen: Frozen) -> elf.ModuleFile:
    """What a module's file says, once it's sure that the guest would load it; needs no guest.

    Raises:
        UsageError: there is no such file.
        ModuleRefused: the guest would not load it.
    """
    try:
        data = ko.read_bytes()
    except OSError as error:
        raise UsageError(f"{ko} can't be read: {error.strerror}") from error
    module = elf.read(data)
    elf.check(
        module,
        architecture=frozen.spec.architecture,
        vermagic=frozen.vermagic,
        exports=elf.parse_exports(frozen.exports.read_text(encoding="utf-8")),
    )
    return module
