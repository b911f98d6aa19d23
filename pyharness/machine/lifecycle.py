# SPDX-License-Identifier: GPL-2.0
"""The machines of this user: booted once, saved, and started from the saved state.

frozen/bookworm-i386-0123456789ab/   a booted guest, saved; read-only
    disk.qcow2     what differs from the image
    state          its memory and devices
    exports        the kernel's exported symbols (Module.symvers)
    frozen.json    facts of the guest's kernel
run/bookworm-i386/                   a machine that runs: see qemu.Machine
    state          that is suspended: its memory and devices
    off            that was switched off: what is on its disk stays
run/bookworm-i386.4711-1/            one that ends with process 4711
"""

import hashlib
import itertools
import json
import os
import re
import shlex
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from pyharness.errors import GuestError, HostError, UsageError
from pyharness.host import json_store, paths
from pyharness.host.cpu_time import Clock
from pyharness.host.programs import version_of
from pyharness.host.progress import NoProgress, Progress, Task
from pyharness.linux import trouble
from pyharness.linux.trouble import Report
from pyharness.machine import accelerator, guest_specs, image, qemu_process
from pyharness.machine.accelerator import Accelerator
from pyharness.machine.guest_specs import GuestSpec
from pyharness.machine.image import Image
from pyharness.machine.qemu_process import Machine
from pyharness.transport.ssh import Ssh

# Counts up whenever this file boots or saves guests differently: then all are booted anew.
FORMAT = 2
# How often a guest is booted until its kernel reports no trouble: a host that is
# busy for a moment is not so for long.
_BOOTS = 3
# To its prompt, under emulation on an idle machine, a guest takes 25 s; to answer by SSH
# after that, or after a thaw, 3 s. The limits are some times that, in seconds of real
# hardware in which the guest could run; emulated, they are 360 and 60 s. A boot is given
# more: beside ten busy processes it took over 180 s, and one that fails is noticed at once.
_BOOT_SECONDS = 60.0
ANSWER_SECONDS = 10.0
_FACTS = {"vermagic": str, "image": str, "accel": dict, "cpus": int, "memory": int}
_ACCEL_FACTS = {"name": str, "reason": str}
_SAVED = "state"
_OFF = "off"
_SAVED_STATE = "frozen"
_count = itertools.count(1)


class RunsAlready(UsageError):
    """A machine is to be started that runs."""


@dataclass(frozen=True, kw_only=True)
class SavedState:
    """A booted guest, saved.

    Attributes:
        folder: where it is.
        spec: the guest's description.
        image: what it was booted from.
        accel: under which accelerator; it goes on under the same one.
        vermagic: what a module for this kernel must say of itself.
    """

    folder: Path
    spec: GuestSpec
    image: Image
    accel: Accelerator
    vermagic: str

    @property
    def exports(self) -> Path:
        """The kernel's exported symbols, as Module.symvers has them."""
        return self.folder / "exports"


@paths.as_host_error()
def freeze(spec: GuestSpec, *, progress: Progress | None = None) -> SavedState:
    """The guest, booted and saved; boots it (and makes its image) if that is still to do.

    Raises:
        HostError: this host can't.
        GuestError: the guest does not boot.
    """
    progress = progress or NoProgress()
    made = image.ensure(spec, progress=progress)
    if not (chosen := accelerator.known_accelerator(spec)):
        progress.message("finding out whether KVM works here: booting a kernel under it")
        chosen = accelerator.choose(spec, made)
    folder = _saved_state_folder(spec, made, chosen)

    def waiting() -> AbstractContextManager[object]:
        return progress.task(f"waiting for another process that boots {spec.name}")

    if not _read(folder, spec.name):
        with paths.locked(f"freeze-{spec.name}", waiting=waiting):
            if not _read(folder, spec.name):
                with paths.atomic_folder(folder, siblings=spec.name) as making:
                    _boot_and_save(spec, made, chosen, making, progress)
    saved_state = _read(folder, spec.name)
    assert saved_state is not None
    return saved_state


def _read(folder: Path, name: str) -> SavedState | None:
    """The saved guest in a folder, if there is one with the image that it needs."""
    facts = json_store.read(folder / "frozen.json", _FACTS)
    accel = facts and json_store.checked(facts["accel"], _ACCEL_FACTS)
    if facts is None or accel is None:
        return None
    if (made := image.read(Path(facts["image"]))) is None:
        return None
    paths.mark_used(made.folder)
    paths.mark_used(folder)
    return SavedState(
        folder=folder,
        spec=guest_specs.find(name, cpus=facts["cpus"], memory=facts["memory"]),
        image=made,
        accel=Accelerator(**accel),
        vermagic=facts["vermagic"],
    )


def saved_state_of(machine: Machine) -> SavedState:
    """What a machine was started from, which need not be what would be started now.

    Raises:
        GuestError: that is gone.
    """
    saved_state = _read((machine.folder / _SAVED_STATE).resolve(), machine.guest)
    if saved_state is None:
        raise GuestError(f"what {machine.guest} was started from is gone: pyharness reset")
    return saved_state


def _saved_state_folder(spec: GuestSpec, made: Image, chosen: Accelerator) -> Path:
    line = qemu_process.command_line(spec, made, chosen, port=0)
    made_of = f"{FORMAT} {line}{version_of(spec.qemu)}"
    digest = hashlib.sha256(made_of.encode()).hexdigest()[:12]
    return paths.cache() / "frozen" / f"{spec.name}-{digest}"


def _boot_and_save(
    spec: GuestSpec, made: Image, chosen: Accelerator, folder: Path, progress: Progress
) -> None:
    """Boot a guest until its kernel reports no trouble, and save its state."""
    progress.message(f"{spec.name} runs under {chosen.name}: {chosen.reason}")
    before: list[Report] = []
    for others in reversed(range(_BOOTS)):
        with (
            progress.task(f"booting {spec.name} once") as task,
            _booted(spec, made, chosen, folder, task) as machine,
        ):
            found = trouble.reports(machine.console_log.read_text(errors="replace"))
            bad = unexpected_reports(found, before)
            if not bad:
                task.at(0.95, "saving its state")
                machine.save(folder / _SAVED)
                break
        if not others:
            said = "\n\n".join(map(str, bad))
            raise GuestError(
                f"{spec.name} reports trouble each time that it boots; if this host is busy,"
                f" try again when it is not:\n{said}"
            )
        progress.message(
            f"{spec.name} is booted again, as its kernel reported trouble: {bad[0].title}"
        )
        before = found
    if found:
        progress.message(
            f"{spec.name} warns each time that it boots, so this is usual: {found[0].title}"
        )
    for name in (qemu_process.FACTS, *qemu_process.SOCKETS, qemu_process.QEMU_LOG):
        (folder / name).unlink(missing_ok=True)


def unexpected_reports(found: Sequence[Report], before: Sequence[Report]) -> list[Report]:
    """The reports of a boot that make its state not worth saving. Pure.

    Each report does: the kernel has lost something, or the host was too busy for
    it, and all that is started from the state would begin with that. The exception
    is a warning that the boot before gave, too: the kernel always warns here, and goes on.
    """
    usual = {_where(report) for report in before if report.kind == "warning"}
    return [report for report in found if _where(report) not in usual]


def _where(report: Report) -> str:
    """What stays the same of a report's first line from boot to boot."""
    return re.sub(r"\b(CPU|PID): \d+|, CPU#\d+: .*", r"\1", report.title)


@contextmanager
def _booted(
    spec: GuestSpec, made: Image, chosen: Accelerator, folder: Path, task: Task
) -> Iterator[Machine]:
    """A guest that has booted and is stopped; what is known of its kernel is in the folder."""
    task.at(0.05, "kernel")
    qemu_process.make_overlay(folder / "disk.qcow2", made.root, "raw")
    machine = Machine.start(spec, made, chosen, folder=folder, persistent=False)
    try:
        with machine.console(timeout_factor=chosen.timeout_factor) as console:
            console.wait_boot(_BOOT_SECONDS, watch=machine.check_disk)
        task.at(0.7, "waiting for it to settle")
        ssh = open_ssh(machine, made, watch=machine.check_disk)
        ssh.connect(ANSWER_SECONDS * chosen.timeout_factor)
        limit = 60 * chosen.timeout_factor
        ssh.run("systemctl is-system-running --wait", seconds=limit)
        vermagic, exports = facts(ssh, seconds=limit)
        ssh.run("sync", seconds=limit)
        ssh.close()
        machine.qmp("stop")
        known = {
            "vermagic": vermagic,
            "image": str(made.folder),
            "accel": asdict(chosen),
            "cpus": spec.cpus,
            "memory": spec.memory,
        }
        (folder / "exports").write_text(exports, encoding="utf-8")
        (folder / "frozen.json").write_text(json.dumps(known), encoding="utf-8")
        yield machine
    except GuestError as error:
        raise type(error)(f"{spec.name}: {error}\n{machine.last_words()}") from error
    finally:
        machine.end()


def facts(ssh: Ssh, *, seconds: float) -> tuple[str, str]:
    """What a module for a guest's kernel must say of itself, and the symbols that it exports.

    Raises:
        CheckFailed: the guest lacks the kernel's modules or headers.
    """
    folder = "/lib/modules/$(uname -r)"
    find = f"find {folder}/kernel -name '*.ko*' -print -quit"
    vermagic = ssh.run(f"modinfo -F vermagic $({find})", seconds=seconds).check()
    exports = ssh.run(f"cat {folder}/build/Module.symvers", seconds=seconds).check()
    return vermagic.stdout.strip(), exports.stdout


def open_ssh(machine: Machine, made: Image, *, watch: Callable[[], object] = lambda: None) -> Ssh:
    """The way into a machine, not yet connected; see Ssh for ``watch``."""
    return Ssh(
        "127.0.0.1",
        machine.port,
        key=image.user_key(),
        host_key=made.host_key,
        watch=watch,
        clock=Clock(machine.pid),
    )


@paths.as_host_error()
def thaw(saved_state: SavedState, *, persistent: bool = False) -> Machine:
    """Start a machine from the saved state.

    Args:
        saved_state: what to start.
        persistent: it outlives this process and is the one that the command line uses.

    Raises:
        RunsAlready: the one that stays does.
    """
    name = (
        saved_state.spec.name
        if persistent
        else f"{saved_state.spec.name}.{os.getpid()}-{next(_count)}"
    )
    folder = paths.run() / name
    # Nobody else starts one that this process alone uses.
    with paths.locked(f"run-{name}") if persistent else nullcontext():
        if (old := Machine.of(folder)) and old.alive:
            raise RunsAlready(f"{name} runs already: pyharness down ends it")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        try:
            (folder / _SAVED_STATE).symlink_to(saved_state.folder)
            qemu_process.make_overlay(
                folder / "disk.qcow2", saved_state.folder / "disk.qcow2", "qcow2"
            )
            fix = f"remove the state, and {saved_state.spec.name} is booted again:"
            return _start(
                saved_state,
                folder,
                persistent=persistent,
                saved=f"{_SAVED_STATE}/{_SAVED}",
                fix=f"{fix} rm -r {shlex.quote(str(saved_state.folder))}",
            )
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise


def _start(
    saved_state: SavedState, folder: Path, *, persistent: bool, saved: str | None, fix: str = ""
) -> Machine:
    """Start a machine in its folder, by a boot or from a state saved there; see wait_running()."""
    if saved and not qemu_process.is_state(folder / saved):
        raise HostError(f"QEMU can't go on from the saved state: {saved} is not whole: {fix}")
    machine = Machine.start(
        saved_state.spec,
        saved_state.image,
        saved_state.accel,
        folder=folder,
        persistent=persistent,
        incoming=saved,
    )
    try:
        if saved:
            machine.wait_running(fix=fix)
    except BaseException:
        machine.end()
        raise
    return machine


@paths.as_host_error()
def start_again(name: str) -> Machine:
    """Start the machine that stays, which is suspended or switched off, from its own disk."""
    folder = paths.run() / name
    with paths.locked(f"run-{name}"):
        saved_state = _read((folder / _SAVED_STATE).resolve(), name)
        if saved_state is None:
            raise GuestError(f"what {name} was started from is gone: pyharness reset")
        saved = folder / _SAVED
        machine = _start(
            saved_state,
            folder,
            persistent=True,
            saved=_SAVED if saved.exists() else None,
            fix=f"pyharness reset --guest {name} starts it anew",
        )
        saved.unlink(missing_ok=True)
        (folder / _OFF).unlink(missing_ok=True)
    return machine


@paths.as_host_error()
def suspend(machine: Machine) -> None:
    """End a machine that stays such that it can go on where it was.

    Raises:
        HostError: its state can't be saved; it goes on.
    """
    try:
        machine.save(machine.folder / _SAVED)
    except HostError:
        machine.qmp("cont")
        raise
    machine.end()


def switch_off(machine: Machine, *, seconds: float) -> None:
    """End a machine that stays such that what is on its disk is there when it's started again.

    Its system is asked to; one that does not in time is cut off.
    """
    if machine.status() == "running":
        with suppress(GuestError):
            ssh = open_ssh(machine, saved_state_of(machine).image)
            ssh.connect(seconds)
            ssh.run("systemctl poweroff --no-block", seconds=seconds)
        end = time.monotonic() + seconds
        while machine.alive and time.monotonic() < end:
            time.sleep(0.1)
    machine.end()
    (machine.folder / _OFF).touch()


def state_of(name: str) -> str:
    """How the machine of that guest is that stays.

    Returns:
        ``absent``, ``running``, ``suspended``, ``off``, or ``crashed``: it has
        panicked, or its QEMU ended by itself.
    """
    folder = paths.run() / name
    machine = Machine.of(folder)
    if machine is None:
        return "absent"
    if machine.alive:
        return "running" if machine.status() in ("running", "inmigrate") else "crashed"
    if (folder / _SAVED).exists():
        return "suspended"
    return "off" if (folder / _OFF).exists() else "crashed"


def settle(ssh: Ssh, *, seconds: float) -> None:
    """After a thaw: the host's clock, and randomness that no other thaw has."""
    ssh.run(
        f"date -s @{time.time():.3f} >/dev/null && cat > /dev/urandom",
        seconds=seconds,
        stdin=os.urandom(64),
    ).check()


def running(spec_name: str) -> Machine | None:
    """The machine of that guest that stays, if it runs; one that is being started is waited for."""
    machine = Machine.of(paths.run() / spec_name)
    if machine and machine.alive:
        with paths.locked(f"run-{spec_name}"):  # the process that starts it holds that
            return machine if machine.alive else None
    return None


def all_machines() -> list[Machine]:
    """Every machine with a live QEMU, whoever started it."""
    folders = [*paths.run().glob("*/"), *(paths.cache() / "frozen").glob(".*/")]
    found = (Machine.of(folder) for folder in sorted(folders))
    return [machine for machine in found if machine and machine.alive]


def persistent(name: str) -> Machine | None:
    """The machine of that guest that stays, whether it runs or not."""
    return Machine.of(paths.run() / name)


def end(machine: Machine) -> None:
    """End a machine and remove what belongs to it."""
    machine.end()
    shutil.rmtree(machine.folder, ignore_errors=True)


def sweep() -> None:
    """Remove what machines left that have ended."""
    for folder in paths.run().glob("*/"):
        machine = Machine.of(folder)
        if machine is None or machine.alive:
            continue
        kept = (folder / _SAVED).exists() or (folder / _OFF).exists()
        if machine.orphaned or (machine.owner is None and not kept):
            shutil.rmtree(folder, ignore_errors=True)
