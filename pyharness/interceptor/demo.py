# SPDX-License-Identifier: GPL-2.0
"""Demonstrates the interceptor from build to unload, step by step, in a guest of its own."""

import errno
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from pyharness.errors import CheckFailed, HarnessError
from pyharness.guest.actor import Actor
from pyharness.guest.guest import Guest
from pyharness.host.progress import Progress
from pyharness.host.wording import counted
from pyharness.interceptor.call_log import Call
from pyharness.interceptor.module import Interceptor, load
from pyharness.linux import trouble

# The system calls that the demo can intercept, with their arguments; it takes the first that the
# guest has. arm64 has no mkdir().
_CALLS: dict[str, tuple[int | str, ...]] = {
    "mkdir": ("/tmp", 0o755),
    "mkdirat": (-100, "/tmp", 0o755),
}


@dataclass
class _Stage:
    """The state that the steps share.

    Attributes:
        guest: the guest.
        folder: the folder with the module's source.
        modules: the loaded module, once the step load is done.
        actors: the actors that were started, by name.
        before: the result of traces() before the module was loaded.
        start: the mark of the kernel log at the beginning.
    """

    guest: Guest
    folder: Path
    modules: list[Interceptor] = field(default_factory=list)
    actors: dict[str, Actor] = field(default_factory=dict)
    before: str = ""
    start: int = field(init=False)

    def __post_init__(self) -> None:
        self.start = self.guest.log.mark()

    @property
    def module(self) -> Interceptor:
        return self.modules[0]

    def actor(self, name: str, user: str = "nobody") -> Actor:
        """Return the actor of a name, started on first use with the rights of a user."""
        if name not in self.actors:
            self.actors[name] = self.guest.actor(user)
        return self.actors[name]

    @property
    def call(self) -> str:
        """The name of the system call that the demo intercepts."""
        return next(call for call in _CALLS if call in self.guest.syscalls.numbers)

    def traces(self) -> str:
        """Describe what a loaded module changes: its custom system call, /proc, and the modules."""
        custom = self.guest.root.syscall("restart_syscall", 99, 0, 0)
        files = self.guest.run("cat /proc/modules | cut -d' ' -f1 | sort; ls /proc | grep -c inter")
        return f"{custom} {files.stdout}"


def _check(right: bool, wrong: str) -> None:
    if not right:
        raise CheckFailed(wrong)


def _build(stage: _Stage) -> str:
    stage.before = stage.traces()
    built = stage.guest.build(stage.folder)
    _check(not built.warnings, f"{counted(len(built.warnings), 'warning')}: {built.warnings[:1]}")
    return f"{built.ko.name}, no warning" + (" (built earlier, same sources)" * built.cached)


def _inspect(stage: _Stage) -> str:
    module = stage.guest.inspect(stage.guest.build(stage.folder).ko)
    return f"{module.get('vermagic').split()[0]}, {module.get('license')}, for {module.machine}"


def _load(stage: _Stage) -> str:
    stage.modules.append(load(stage.guest, stage.folder))
    custom = stage.module.interface.custom_syscall
    return f"system call {custom} takes commands, exit_group calls are logged"


def _monitor(stage: _Stage) -> str:
    module, watched = stage.module, stage.actor("watched")
    module.expect(module.intercept(stage.call), 0, f"intercept {stage.call}")
    module.expect(module.start(stage.call, watched.pid), 0, "start")
    listed = module.status()[stage.guest.syscalls.ref(stage.call)]
    _check(listed.pids == {watched.pid}, f"the status file has {listed}")
    return f"{stage.call} of process {watched.pid}"


def _calls_of(stage: _Stage, name: str) -> list[Call]:
    """Issue the call from the actor of a name, check its result, and return the logged calls."""
    mark = stage.guest.log.mark()
    result = stage.actor(name).syscall(stage.call, *_CALLS[stage.call])
    _check(result.errno == errno.EEXIST, f"{stage.call} of /tmp gives {result}, not -EEXIST")
    return stage.module.logged(mark)


def _logged(stage: _Stage) -> str:
    found = _calls_of(stage, "watched")
    _check(len(found) == 1, f"{counted(len(found), 'line')} in the log, not 1")
    return f"kernel: {found[0].record.text}\n{'':10}decoded: {found[0]}"


def _not_logged(stage: _Stage) -> str:
    found = _calls_of(stage, "other")
    _check(not found, f"the log has {[call.record.text for call in found]}")
    return f"{stage.call} of process {stage.actor('other').pid} left no line"


def _misuse(stage: _Stage) -> str:
    module, watched, other = stage.module, stage.actor("watched"), stage.actor("other")
    call = stage.call
    cases = [
        ("unknown command", module.command(99, call), errno.EINVAL),
        ("intercept again", module.intercept(call), errno.EBUSY),
        ("intercept as nobody", module.intercept(call, by=other), errno.EPERM),
        ("start again", module.start(call, watched.pid), errno.EBUSY),
        ("stop a process that is not monitored", module.stop(call, other.pid), errno.EINVAL),
        ("start a process of root as nobody", module.start(call, 1, by=other), errno.EPERM),
    ]
    for what, result, wanted in cases:
        module.expect(result, wanted, what)
    return "; ".join(f"{what} {result}" for what, result, _ in cases)


def _release(stage: _Stage) -> str:
    module = stage.module
    module.expect(module.release(stage.call), 0, f"release {stage.call}")
    _check(not module.status(), f"the status file still has {module.status()}")
    _check(not _calls_of(stage, "watched"), "a call was logged after release")
    return "calls are not logged any more"


def _unload(stage: _Stage) -> str:
    stage.module.unload()
    after = stage.traces()
    _check(after == stage.before, f"before load {stage.before!r}, after unload {after!r}")
    custom = stage.module.interface.custom_syscall
    return f"modules, /proc and system call {custom} are as they were before load"


def _healthy(stage: _Stage) -> str:
    stage.guest.health.check()
    # Earlier reports are from the boot, and not the module's fault.
    since = stage.guest.log.since(stage.start)
    bad = [record.text for record in since if trouble.is_trouble(record.text)]
    _check(not bad, f"it reported {bad}")
    return "the kernel reported no trouble"


_STEPS: list[tuple[str, Callable[[_Stage], str]]] = [
    ("build", _build),
    ("inspect", _inspect),
    ("load", _load),
    ("monitor", _monitor),
    ("its calls", _logged),
    ("others'", _not_logged),
    ("misuse", _misuse),
    ("release", _release),
    ("unload", _unload),
    ("health", _healthy),
]


def run(name: str, folder: Path, progress: Progress, echo: Callable[[str], object]) -> int:
    """Run the demo.

    Args:
        name: the name of the guest to start for it.
        folder: the folder with the module's source.
        progress: shows the steps that take long.
        echo: called with a line about the outcome of each step.

    Returns:
        An exit status: 0 if each step succeeded, otherwise that of the error.
    """
    begin = time.monotonic()
    with Guest.boot(name, progress=progress) as guest:
        echo(f"ok  {'boot':9} {guest.describe()} ({guest.qemu.saved_state.accel.reason})")
        stage = _Stage(guest, folder)
        for title, step in _STEPS:
            try:
                with progress.task(title):  # a build takes a minute where the host is busy
                    found = step(stage)
                echo(f"ok  {title:9} {found}")
            except HarnessError as error:
                echo(f"BAD {title:9} {error}")
                echo(f"the demo failed at {title!r} in {guest.describe()}")
                return error.exit_code
    took = time.monotonic() - begin
    echo(f"all {len(_STEPS) + 1} steps passed, in {took:.0f} s")
    return 0
