# SPDX-License-Identifier: GPL-2.0
"""A running guest: runs commands, copies files, reads the log, starts actors, loads modules."""

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
from pyharness.guest import build, coverage
from pyharness.guest.actor import Actor
from pyharness.guest.agent import Agent
from pyharness.guest.backend import GuestBackend, GuestFacts
from pyharness.guest.build import Built, module_name
from pyharness.guest.compilers import SYMBOLS, Compiler, InGuest, WithTree
from pyharness.guest.coverage import Counted, Coverage
from pyharness.guest.health import Health
from pyharness.guest.history import History
from pyharness.guest.kernel_log import KernelLog
from pyharness.guest.loaded import LoadedModule
from pyharness.guest.module_source import ModuleSource
from pyharness.guest.qemu_backend import QemuBackend
from pyharness.host import signals
from pyharness.host.closing import Closes
from pyharness.host.cpu_time import Clock
from pyharness.host.progress import NoProgress, Progress
from pyharness.linux import module_file
from pyharness.linux.symbolize import Symbolizer
from pyharness.linux.syscalls import Syscalls
from pyharness.machine import guest_specs, lifecycle, qemu_process, saved_states
from pyharness.machine.qemu_process import Machine
from pyharness.transport.console import Console
from pyharness.transport.ssh import Completed, Ssh

# Time limits on real hardware; Guest.limit() extends them for a slower guest.
_COMMAND_SECONDS = 30.0
_BUILD_SECONDS = 120.0
# Prints the address of each section of a module that is loaded, with its name.
_SECTIONS = "(cd /sys/module/{}/sections 2>/dev/null && grep -r '' . || true)"


class Guest(Closes):
    """A running guest. End it with close(), or use it in a ``with`` block, which does so.

    Time limits are for a guest on real hardware; for a slower one, limit() extends them.

    Attributes:
        backend: what runs it.
        facts: the facts about it and its kernel.
        syscalls: the names and numbers of its system calls.
        history: the last commands and orders, and their results.
        health: the state of its kernel; finds crashes.
        modules: the file of each module that was loaded, by the module's name.
        sources: for each folder of sources as a compiler saw it, the folder on this host.
        closed: whether close() or leave() was called: this object can't be used any more.
    """

    def __init__(self, backend: GuestBackend, *, fresh: bool, boots: bool = False) -> None:
        """Connect to a running guest. boot() and attach() start one and call this.

        Args:
            backend: what runs the guest.
            fresh: whether it was started just now: its clock has to be set,
                and its random number generator seeded.
            boots: whether it boots, which takes longer than to go on from a state.

        Raises:
            GuestError: the guest can't be reached.
            GuestCrashed: its kernel crashed.
        """
        self.backend = backend
        self.facts = backend.facts
        self.syscalls = Syscalls(self.facts.syscalls)
        self.history = History()
        self.health = Health(backend, self.history, fresh=fresh)
        self.modules: dict[str, Path] = {}
        self.sources: dict[str, Path] = {}
        self._paused = False
        self._agent: Agent | None = None
        self._root: Actor | None = None
        self._log: KernelLog | None = None
        self.closed = False
        self._ssh = backend.ssh(self.health.check)
        self.health.clock = self._ssh.clock
        if isinstance(self._ssh.clock, Clock):
            self.health.rewind = self._ssh.clock.rewind
        self.health.check()
        try:
            seconds = saved_states.BOOT_SECONDS if boots else qemu_process.ANSWER_SECONDS
            self._ssh.connect(self.limit(seconds))
            if fresh:
                lifecycle.settle(self._ssh, seconds=self.limit(10))
        except GuestTimeout as error:
            self.health.raise_cause(GuestTimeout(f"{error}\n{backend.last_words()}".rstrip()))
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
        """Start a guest from its saved state. Without one, boot the guest and save its state first.

        Args:
            name: the guest's name; ``pyharness list`` shows all.
            cpus: the number of CPUs; None: as many as the guest's description says.
            memory: the memory in MiB; None: as much as the guest's description says.
            persistent: whether the guest keeps running when this process ends, until
                ``pyharness down``.
            progress: shows the steps that take long.

        Returns:
            The guest.

        Raises:
            UsageError: there is no such guest; or it would be persistent, and one of that name
                runs, is suspended, or off.
            HostError: this host lacks something that is needed.
            GuestError: the guest does not start.
        """
        progress = progress or NoProgress()
        saved_state = saved_states.ensure(
            guest_specs.find(name, cpus=cpus, memory=memory), progress=progress
        )
        machine = None
        try:
            with progress.task(f"starting {name}"):
                with signals.held():  # until ``machine`` is set, nothing could end it
                    machine = lifecycle.start(saved_state, persistent=persistent)
                return cls(QemuBackend(saved_state, machine), fresh=True)
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
        """Connect to the persistent guest of a name; start or resume it if it does not run.

        Args:
            name: the guest's name; ``pyharness list`` shows all.
            cpus: the number of CPUs if a guest has to be started; None: as many as its
                description says.
            memory: the memory in MiB if a guest has to be started; None: as much as its
                description says.
            progress: shows the steps that take long.

        Returns:
            The guest, which keeps running after close().

        Raises:
            UsageError: there is no such guest.
            HostError: this host lacks something that is needed.
            GuestError: the guest does not start, or can't be reached.
        """
        progress = progress or NoProgress()
        if machine := lifecycle.running(name):
            if machine.status() == qemu_process.DEBUGGED:
                progress.message(f"gdb has stopped {name}: waiting until it lets it run on")
            with progress.task(f"connecting to {name}"):
                return cls(_persistent(machine), fresh=False)
        try:
            return cls._start_persistent(name, cpus=cpus, memory=memory, progress=progress)
        except lifecycle.RunsAlready:  # another process has just started it
            if not (machine := lifecycle.running(name)):
                raise
            return cls(_persistent(machine), fresh=False)

    @classmethod
    def _start_persistent(
        cls, name: str, *, cpus: int | None, memory: int | None, progress: Progress
    ) -> "Guest":
        """Start the persistent guest of a name: from its own disk if it has one, or else anew."""
        state = lifecycle.state_of(name)
        if state in ("suspended", "off"):
            progress.message(f"resuming {name}, which is {state}")
            with progress.task(f"starting {name}"):
                with signals.held():  # an interrupted start could lose the state on the disk
                    machine = lifecycle.start_again(name)
                return cls(_persistent(machine), fresh=True, boots=state == "off")
        lost = f"the QEMU of {name} has exited, and the guest's state is lost: starting a new one"
        progress.message(lost if state == "crashed" else f"starting {name}")
        return cls.boot(name, cpus=cpus, memory=memory, persistent=True, progress=progress)

    def close(self) -> None:
        """Disconnect; end the guest unless it is persistent."""
        try:
            self.leave()
        finally:
            if not self.backend.persistent:
                self.backend.end()

    def leave(self) -> None:
        """Disconnect; the guest keeps running. A persistent guest that was paused is resumed."""
        try:
            if self._coverage and not self.closed:
                with suppress(GuestError):
                    self.resume()
                    self._coverage.collect()
        finally:
            self._disconnect()

    def _disconnect(self) -> None:
        self.closed = True
        if self.backend.persistent:
            with suppress(GuestError):
                self.resume()
        if self._agent:
            self._agent.close()
        self._ssh.close()
        self.health.closed()

    def pause(self) -> None:
        """Stop all CPUs of the guest, and its clock, until resume()."""
        if not self._paused:
            self.backend.pause()
            self._paused = True

    def resume(self) -> None:
        """Continue after pause(); do nothing if the guest is not paused."""
        if self._paused:
            self.backend.resume()
            self._paused = False
            if self._agent:
                self._agent.expect_sign()

    def clock(self) -> float:
        """Return the seconds in which the guest could run, since some start; limits count these."""
        return self._ssh.clock()

    def limit(self, seconds: float) -> float:
        """Return a time limit for this guest, given the one for real hardware, in seconds."""
        return seconds * self.facts.timeout_factor

    def describe(self) -> str:
        """Return the guest's name, kernel and accelerator in one line."""
        return str(self.facts)

    @property
    def qemu(self) -> QemuBackend:
        """The backend of a guest that this package started, with its QEMU and its saved state.

        Raises:
            GuestError: somebody else runs the guest.
        """
        if isinstance(self.backend, QemuBackend):
            return self.backend
        raise GuestError(f"{self.facts.name} is reached only by SSH: its QEMU is not pyharness's")

    # ---- a shell and files ----

    def run(
        self,
        command: str | Sequence[str],
        *,
        user: str = "root",
        seconds: float = _COMMAND_SECONDS,
        stdin: bytes = b"",
    ) -> Completed:
        """Run a command, and wait for its end.

        Args:
            command: a string for the guest's shell, or a list of words.
            user: the user who runs it.
            seconds: how long it may take on real hardware.
            stdin: its standard input.

        Returns:
            Its exit status and output. A status other than 0 raises nothing; see
            Completed.check().

        Raises:
            UsageError: it is longer than the guest's shell takes, or has a null character.
            GuestTimeout: it took too long.
            GuestCrashed: the guest's kernel crashed.
            GuestError: the connection is lost.
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
        """Write data to a file of the guest.

        Args:
            data: the file's whole content.
            target: the file's path in the guest.
        """
        self._ssh.put(data, target, seconds=self.limit(_COMMAND_SECONDS))

    def get(self, source: str) -> bytes:
        """Return the content of a file of the guest, given its path there."""
        return self._ssh.get(source, seconds=self.limit(_COMMAND_SECONDS))

    def console(self) -> Console:
        """Open the root shell on the guest's serial console."""
        return self.backend.console()

    @property
    def ssh(self) -> Ssh:
        """The SSH connection, for commands whose streams are needed while they run."""
        return self._ssh

    # ---- actors and the kernel log ----

    @property
    def agent(self) -> Agent:
        """The program in the guest that starts actors and reads the kernel log, started on use.

        If it has ended, or an interruption has cut off a request to it, another one is started.
        """
        if not self._agent or self._agent.closed:
            self._root = self._log = None
            self._agent = Agent(
                self._ssh,
                seconds=self.limit(10),
                syscalls=self.syscalls,
                history=self.history,
                raise_cause=self.health.raise_cause,
            )
            self.health.silence = self._agent.silence
            self.health.expect_sign = self._agent.expect_sign
        return self._agent

    def actor(self, user: str = "root") -> Actor:
        """Start a process of a user in the guest that carries out orders, such as system calls.

        Raises:
            UsageError: the guest has no such user.
        """
        agent = self.agent
        return Actor(agent, agent.spawn(user))

    @property
    def root(self) -> Actor:
        """An actor of root's, for orders that need no actor of their own; started on first use."""
        agent = self.agent  # it forgets what has ended with another one
        if not self._root:
            self._root = Actor(agent, agent.spawn())
        return self._root

    def dismiss(self) -> None:
        """Kill all actors, whatever they are doing."""
        if self._agent and not self._agent.closed:
            self._agent.dismiss()
        self._root = None

    @property
    def log(self) -> KernelLog:
        """The guest's kernel log, from the oldest record that the kernel still has."""
        agent = self.agent  # it forgets the reader of another one
        if not self._log:
            self._log = KernelLog(agent)
        return self._log

    # ---- the module ----

    def build(self, folder: Path, *, anew: bool = False) -> Built:
        """Build a folder's modules with the guest's headers, or return the cached result.

        This host runs the guest's compiler where it can; otherwise the guest does.

        The cache has one result for a source and an image, whatever CPUs and memory the guest has.

        Args:
            folder: the folder with the source, on the host.
            anew: build even if the cache has a result.

        Returns:
            The modules.

        Raises:
            UsageError: the folder is not a module's.
            CheckFailed: the build failed; the message has its output.
            GuestError: the guest does not answer, or crashed.
        """
        source, headers = ModuleSource(folder), self.facts.headers
        counts = self._coverage is not None and folder != coverage.KEEPER
        try:
            built = None if anew else build.find(source, headers, counts=counts)
            built = built or build.build(
                source, headers, self._compiler(), counts=counts, anew=anew
            )
            if self._coverage and counts:
                self._coverage.watch(
                    built, self._counted(built, source), lambda: self.build(coverage.KEEPER).ko
                )
        except GuestError as error:
            self.health.raise_cause(error)
        self.sources[built.where] = source.folder.resolve()
        return built

    @cached_property
    def _coverage(self) -> Coverage | None:
        """What has run of this guest's modules; None if that is not to be counted."""
        if (folder := coverage.folder()) is None:
            return None
        return Coverage(folder, self, self.facts.architecture, memory=self.backend.memory)

    def _counted(self, built: Built, source: ModuleSource) -> Counted:
        """Return what a report about a build whose code is counted needs to know.

        Raises:
            UsageError: there can be no report about this guest's modules.
        """
        compiler = self._compiler()
        tree = None if isinstance(compiler, WithTree) else self.backend.root_tree()
        if tree is None and not isinstance(compiler, WithTree):
            raise UsageError(
                f"what runs of a module can't be counted in {self.facts.name}: this host can't run"
                " the guest's gcov"
            )
        folder = built.files[0].parent
        return Counted(
            folder=str(folder),
            source=str(source.folder.resolve()),
            where=built.where,
            tree=str(tree.folder) if tree else "",
            architecture=self.facts.architecture,
        )

    def _compiler(self) -> Compiler:
        """Return what builds modules: this host if it can, otherwise the guest."""
        return self.backend.host_compiler() or InGuest(
            self._ssh, self.facts.cpus, self.limit(_BUILD_SECONDS)
        )

    def inspect(self, ko: Path, *, any_license: bool = False) -> module_file.ModuleFile:
        """Read a module's ``.ko`` file, and check that this guest's kernel would load it.

        Args:
            ko: the file, on the host.
            any_license: whether a license is accepted with which a module may not use the kernel's
                GPL symbols.

        Raises:
            UsageError: the file can't be read.
            ModuleRefused: the kernel would not load it.
        """
        return inspect(ko, self.facts, any_license=any_license)

    def is_loaded(self, name: str) -> bool:
        """Return whether the guest's kernel has a module of that name."""
        return self.run(["test", "-d", f"/sys/module/{name}"]).status == 0

    def load_ko(self, ko: Path, /, **parameters: str | int) -> None:
        """Check a module's ``.ko`` file as inspect() does, and load it.

        Args:
            ko: the file, on the host.
            **parameters: the module's parameters.

        Raises:
            UsageError: the file can't be read, or a module of that name is loaded already.
            ModuleRefused: the kernel would not load the module, or refused it; or the module
                has no such parameter.
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
        # Without section addresses yet: a crash in the module's own init function can at least be
        # shown by function.
        self.health.lines[name] = Symbolizer(data)
        self.modules[name] = ko
        done = self.run(f"insmod {shlex.join([target, *words])} && {_SECTIONS.format(name)}")
        if done.status:
            # As somebody else was faster. The module's own init function may return that, too.
            if done.stderr.rstrip().endswith("File exists") and self.is_loaded(name):
                raise UsageError(f"{name} is loaded already: pyharness unload")
            said = "\n".join(record.text for record in self.log.since(mark))
            if wrong := module_file.wrong_value(module, said):
                raise ModuleRefused(wrong)
            raise ModuleRefused(f"{done.stderr.strip()}\n{said}".strip())
        if self._coverage:
            self._coverage.collect()  # so that a crash finds out where the counters are
        self.health.lines[name] = Symbolizer(data, _parse_sections(done.stdout))

    def sections(self, name: str) -> dict[str, int]:
        """Return the address of each section of a module that is loaded; none if it is not.

        Of a guest that does not answer any more, what load_ko() has seen is returned.

        Args:
            name: the module's name.
        """
        try:
            return _parse_sections(self.run(_SECTIONS.format(name)).stdout)
        except GuestError:
            known = self.health.lines.get(name)
            return known.sections if known else {}

    def load(self, folder: Path, name: str = "", /, **parameters: str | int) -> LoadedModule:
        """Build, check and load a module.

        Args:
            folder: the folder with the source, on the host.
            name: the module's name; needed only if the folder builds several.
            **parameters: the module's parameters.

        Returns:
            The loaded module.

        Raises:
            CheckFailed: the build failed.
            UsageError: a module of that name is loaded already, or the folder builds several
                modules and the name is empty.
            ModuleRefused: the kernel would not load the module, or refused it.
        """
        ko = self.build(folder).file(name)
        if self.is_loaded(module_name(ko)):
            raise UsageError(f"{module_name(ko)} is loaded already: pyharness unload")
        self.load_ko(ko, **parameters)
        return LoadedModule(self.run, module_name(ko))

    def wait(self, what: str, condition: Callable[[], object], *, seconds: float = 10.0) -> None:
        """Wait until a condition is true.

        Args:
            what: the condition in words, for the error's message.
            condition: a function that is called repeatedly, until it returns something true.
            seconds: how long to wait on real hardware.

        Raises:
            CheckFailed: the condition did not become true in time.
        """
        end = self.clock() + self.limit(seconds)
        while not condition():
            if self.clock() > end:
                raise CheckFailed(f"timed out while waiting for: {what}")
            time.sleep(0.05)


def read_module(ko: Path) -> module_file.ModuleFile:
    """Read a module's ``.ko`` file.

    Raises:
        UsageError: the file can't be read.
        ModuleRefused: it is not a kernel module.
    """
    try:
        return module_file.read(ko.read_bytes())
    except OSError as error:
        raise UsageError(f"{ko} can't be read: {error.strerror}") from error
    except ModuleRefused as error:
        raise ModuleRefused(f"{ko}: {error}") from error


def _parse_sections(printed: str) -> dict[str, int]:
    """Parse what _SECTIONS prints."""
    lines = (line.removeprefix("./").split(":") for line in printed.splitlines())
    return {section: int(address, 16) for section, address in lines}


def _persistent(machine: Machine) -> QemuBackend:
    return QemuBackend(lifecycle.saved_state_of(machine), machine)


def inspect(ko: Path, facts: GuestFacts, *, any_license: bool = False) -> module_file.ModuleFile:
    """Read a module's ``.ko`` file, and check that a guest's kernel would load it.

    The guest need not run.

    Args:
        ko: the file, on the host.
        facts: the facts about the guest.
        any_license: whether a license is accepted with which a module may not use the kernel's GPL
            symbols.

    Raises:
        UsageError: the file can't be read.
        ModuleRefused: the kernel would not load it.
    """
    module = read_module(ko)
    exports = module_file.parse_exports(facts.exports.read_text(encoding="utf-8"))
    if (beside := ko.parent / SYMBOLS).is_file():  # exports of modules built along with it
        exports |= module_file.parse_exports(beside.read_text(encoding="utf-8"))
    module_file.check(
        module,
        architecture=facts.architecture,
        vermagic=facts.vermagic,
        exports=exports,
        any_license=any_license,
    )
    return module
