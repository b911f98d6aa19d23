# SPDX-License-Identifier: GPL-2.0
"""A guest: commands, files, the kernel log, actors, and the module built and loaded."""

import shlex
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path

from pyharness.errors import (
    CheckFailed,
    GuestError,
    GuestTimeout,
    ModuleRefused,
    UsageError,
)
from pyharness.guest import build
from pyharness.guest.actor import Actor
from pyharness.guest.agent import Agent
from pyharness.guest.build import Built, module_name
from pyharness.guest.health import Health
from pyharness.guest.history import History
from pyharness.guest.kernel_log import KernelLog
from pyharness.guest.loaded import LoadedModule
from pyharness.host import signals
from pyharness.host.closing import Closes
from pyharness.host.progress import NoProgress, Progress
from pyharness.linux import module_file
from pyharness.linux.symbolize import Symbolizer
from pyharness.linux.syscalls import Syscalls
from pyharness.machine import guest_specs, lifecycle, qemu_process, saved_states
from pyharness.machine.qemu_process import Machine
from pyharness.machine.saved_states import SavedState
from pyharness.transport.console import Console
from pyharness.transport.ssh import Completed, Ssh

_USUAL = 30.0
_BUILD = 120.0


class Guest(Closes):
    """A guest that runs. End it with close(), or use it as a context.

    Attributes:
        saved_state: what it was started from.
        machine: its QEMU.
        syscalls: the names and numbers of its system calls.
        history: what it was asked to do last.
        health: of its kernel.
        closed: it was left: it can't be used from here any more.
    """

    def __init__(
        self,
        saved_state: SavedState,
        machine: Machine,
        *,
        fresh: bool,
        way_in: Callable[[Callable[[], object]], Ssh] | None = None,
    ) -> None:
        """Enter a machine; boot() and attach() are the usual ways here.

        Args:
            saved_state: what it was started from.
            machine: where it runs.
            fresh: it was thawed just now: it needs the time and randomness.
            way_in: makes the connection, if it isn't the usual one; given what to watch.
        """
        self.saved_state = saved_state
        self.machine = machine
        self.syscalls = Syscalls(saved_state.spec.syscalls)
        self.history = History()
        self.health = Health(
            machine,
            self.history,
            name=self.describe(),
            timeout_factor=saved_state.accel.timeout_factor,
            fresh=fresh,
        )
        self._paused = False
        self.closed = False
        self._ssh = (
            way_in(self.health.check)
            if way_in
            else machine.ssh(saved_state.image, watch=self.health.check)
        )
        self.health.check()
        try:
            self._ssh.connect(self.limit(qemu_process.ANSWER_SECONDS))
            if fresh:
                lifecycle.settle(self._ssh, seconds=self.limit(10))
        except GuestTimeout as error:
            self.health.raise_cause(GuestTimeout(f"{error}\n{machine.last_words()}".rstrip()))
        except GuestError as error:
            self.health.raise_cause(error)

    @classmethod
    def boot(
        cls,
        name: str = guest_specs.DEFAULT_GUEST,
        *,
        cpus: int | None = None,
        memory: int | None = None,
        persistent: bool = False,
        progress: Progress | None = None,
    ) -> "Guest":
        """Start a guest from its saved state; makes that first if there is none.

        Args:
            name: which one; ``pyharness list`` has them.
            cpus: how many it is to have, if not as many as usual.
            memory: likewise, in MiB.
            persistent: it keeps running when this process ends, until ``pyharness down``.
            progress: shows the steps that last.
        """
        progress = progress or NoProgress()
        saved_state = saved_states.ensure(
            guest_specs.find(name, cpus=cpus, memory=memory), progress=progress
        )
        machine = None
        try:
            with progress.task(f"starting {name}"):
                with signals.held():  # it can only be ended once it is known
                    machine = lifecycle.start(saved_state, persistent=persistent)
                return cls(saved_state, machine, fresh=True)
        except BaseException:
            if machine:
                lifecycle.end(machine)
            raise

    @classmethod
    def attach(
        cls,
        name: str = guest_specs.DEFAULT_GUEST,
        *,
        cpus: int | None = None,
        memory: int | None = None,
        progress: Progress | None = None,
    ) -> "Guest":
        """Enter the guest that stays; starts it if it does not run; see boot()."""
        progress = progress or NoProgress()
        if machine := lifecycle.running(name):
            with progress.task(f"connecting to {name}"):
                return cls(lifecycle.saved_state_of(machine), machine, fresh=False)
        state = lifecycle.state_of(name)
        if state in ("suspended", "off"):
            progress.message(f"going on with {name}, which is {state}")
            with progress.task(f"starting {name}"):
                with signals.held():  # its state on the disk is used up only once it runs
                    machine = lifecycle.start_again(name)
                return cls(lifecycle.saved_state_of(machine), machine, fresh=True)
        lost = f"{name} has died with its QEMU, and what was in it is gone: starting another"
        progress.message(lost if state == "crashed" else f"starting {name}")
        try:
            return cls.boot(name, cpus=cpus, memory=memory, persistent=True, progress=progress)
        except lifecycle.RunsAlready:  # another process has started it meanwhile
            if not (machine := lifecycle.running(name)):
                raise
            return cls(lifecycle.saved_state_of(machine), machine, fresh=False)

    def close(self) -> None:
        """Leave it; one that does not stay is ended."""
        self.leave()
        if self.machine.owner is not None:
            lifecycle.end(self.machine)

    def leave(self) -> None:
        """Hang up, and let it run."""
        self.closed = True
        if self.machine.owner is None:
            with suppress(GuestError):
                self.resume()
        if "agent" in self.__dict__:
            self.agent.close()
        self._ssh.close()
        self.health.closed()

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
        return seconds * self.saved_state.accel.timeout_factor

    def describe(self) -> str:
        """One line: guest, kernel, accelerator."""
        accel = self.saved_state.accel
        return (
            f"{self.saved_state.spec.name}, kernel {self.saved_state.image.release}, {accel.name}"
        )

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
            self.health.raise_cause(error)
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
        return self.machine.console(timeout_factor=self.saved_state.accel.timeout_factor)

    @property
    def ssh(self) -> Ssh:
        """The SSH connection, for commands whose streams the caller wants live."""
        return self._ssh

    # ---- who acts ----

    @cached_property
    def agent(self) -> Agent:
        """Who starts actors and reads the kernel log."""
        agent = Agent(
            self._ssh,
            seconds=self.limit(10),
            syscalls=self.syscalls,
            history=self.history,
            raise_cause=self.health.raise_cause,
        )
        self.health.silence = agent.silence
        return agent

    def actor(self, user: str = "root") -> Actor:
        """Start a process of that user that carries out orders."""
        return Actor(self.agent, self.agent.spawn(user))

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
        """Build a module with the guest's headers, or take what was built from the same source.

        What is built depends on the image alone, not on how many CPUs the guest has.

        Raises:
            CheckFailed: it does not build.
        """
        against = built_for(self.saved_state)
        if not anew and (built := build.find(folder, against)):
            return built
        try:
            return build.build(
                folder,
                against,
                self._ssh,
                jobs=self.saved_state.spec.cpus,
                seconds=self.limit(_BUILD),
            )
        except GuestError as error:
            self.health.raise_cause(error)

    def inspect(self, ko: Path) -> module_file.ModuleFile:
        """What a module's file says, once it's sure that this guest would load it.

        Raises:
            UsageError: there is no such file.
            ModuleRefused: the guest would not load it.
        """
        return inspect(ko, self.saved_state)

    def is_loaded(self, name: str) -> bool:
        """Whether a module of that name is loaded."""
        return self.run(["test", "-d", f"/sys/module/{name}"]).status == 0

    def load_ko(self, ko: Path, /, **parameters: str | int) -> None:
        """Inspect a module's file and load it.

        Raises:
            ModuleRefused: the guest would not load it, or did not; or it has no such parameter.
        """
        module = self.inspect(ko)
        module_file.check_parameters(module, parameters)
        words = [
            f"{key}={module_file.quoted(key, str(value))}" for key, value in parameters.items()
        ]
        target, data = f"/root/{ko.name}", ko.read_bytes()
        name = module_name(ko)
        self.put(data, target)
        mark = self.log.mark()
        # Known by its functions even if it never comes back from its own init.
        self.health.lines[name] = Symbolizer(data)
        done = self.run(
            f"insmod {shlex.join([target, *words])} && cd /sys/module/{name}/sections"
            ' && grep -H "" .*text*'
        )
        if done.status:
            said = "\n".join(record.text for record in self.log.since(mark))
            if wrong := module_file.wrong_value(module, said):
                raise ModuleRefused(wrong)
            raise ModuleRefused(f"{done.stderr.strip()}\n{said}".strip())
        sections = (line.split(":") for line in done.stdout.splitlines())
        self.health.lines[name] = Symbolizer(
            data, {section: int(at, 16) for section, at in sections}
        )

    def load(self, folder: Path, name: str = "", /, **parameters: str | int) -> LoadedModule:
        """Build, inspect and load a module.

        Args:
            folder: the module's.
            name: which one, if the folder builds several.
            **parameters: for the module.

        Raises:
            CheckFailed: it does not build.
            UsageError: a module of that name is loaded already, or the folder builds
                several and none is named.
            ModuleRefused: it can't be loaded.
        """
        ko = self.build(folder).file(name)
        if self.is_loaded(module_name(ko)):
            raise UsageError(f"{module_name(ko)} is loaded already: pyharness unload")
        self.load_ko(ko, **parameters)
        return LoadedModule(self.run, module_name(ko))

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


def read_module(ko: Path) -> module_file.ModuleFile:
    """What a module's file says.

    Raises:
        UsageError: there is no such file.
        ModuleRefused: it is no module.
    """
    try:
        return module_file.read(ko.read_bytes())
    except OSError as error:
        raise UsageError(f"{ko} can't be read: {error.strerror}") from error
    except ModuleRefused as error:
        raise ModuleRefused(f"{ko}: {error}") from error


def built_for(saved_state: SavedState) -> str:
    """What a module is built against: the image and its kernel, however many CPUs a guest has."""
    image = saved_state.image
    return f"{image.folder.name} {image.release} {image.version} {saved_state.vermagic}"


def inspect(ko: Path, saved_state: SavedState) -> module_file.ModuleFile:
    """What a module's file says, once it's sure that the guest would load it; needs no guest.

    Raises:
        UsageError: there is no such file.
        ModuleRefused: the guest would not load it.
    """
    module = read_module(ko)
    exports = module_file.parse_exports(saved_state.exports.read_text(encoding="utf-8"))
    if (beside := ko.parent / build.SYMBOLS).is_file():  # of modules that were built with it
        exports |= module_file.parse_exports(beside.read_text(encoding="utf-8"))
    module_file.check(
        module,
        architecture=saved_state.spec.architecture,
        vermagic=saved_state.vermagic,
        exports=exports,
    )
    return module
