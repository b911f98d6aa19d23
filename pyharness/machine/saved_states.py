# SPDX-License-Identifier: GPL-2.0
"""Saved states: each guest is booted once and saved; machines start from the saved state.

saved-states/bookworm-i386-0123456789ab/   a saved state; read-only
    disk.qcow2         what differs from the image
    state              the guest's memory and devices
    exports            the kernel's exported symbols (Module.symvers)
    config             the kernel's configuration (.config)
    saved-state.json   facts about the guest and its kernel
"""

import hashlib
import re
import uuid
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from pyharness.errors import GuestError, UsageError
from pyharness.host import cache, json_store
from pyharness.host.programs import version_of
from pyharness.host.progress import NoProgress, Progress, Task
from pyharness.linux import trouble
from pyharness.linux.trouble import Report
from pyharness.machine import (
    accelerator,
    command_line,
    guest_specs,
    image,
    in_use,
    kernel_source,
    kernel_tree,
    kvm_probe,
    qemu_process,
    state_file,
)
from pyharness.machine import kernel as kernels
from pyharness.machine.accelerator import Accelerator
from pyharness.machine.guest_specs import GuestSpec
from pyharness.machine.image import Image
from pyharness.machine.kernel import Kernel
from pyharness.machine.qemu_process import Machine
from pyharness.transport.ssh import Ssh

# To be increased when this file boots or saves guests differently: all are then booted again.
FORMAT = 4
# How often a guest is booted at most until its kernel reports no trouble: trouble that comes from
# a busy host does not last.
_BOOTS = 3
# Under emulation on an idle machine a guest boots to its prompt in 25 s. The limit is many times
# that, in seconds of real hardware in which the guest could run (360 s emulated): beside ten busy
# processes a boot took over 180 s. A boot that fails is noticed at once.
BOOT_SECONDS = 60.0
_ACCEL_FACTS = {"name": str, "reason": str}
STATE = "state"
# Unpacks a kernel's files. In some suites /lib is a symbolic link.
_UNPACK = "tar -xz -C / --keep-directory-symlink -f - && depmod"


@dataclass(frozen=True, kw_only=True)
class SavedState:
    """The saved state of a booted guest.

    Attributes:
        folder: the saved state's folder.
        spec: the guest's description.
        image: the image that the guest was booted from.
        kernel: the kernel that it was booted with.
        accel: the accelerator that the guest was booted with, and must be resumed with.
        vermagic: the ``vermagic`` field of modules for the guest's kernel.
        uuid: distinguishes it from a later one in the same folder; empty for one of an earlier
            version.
    """

    folder: Path
    spec: GuestSpec
    image: Image
    kernel: Kernel
    accel: Accelerator
    vermagic: str
    uuid: str = ""

    @property
    def exports(self) -> Path:
        """The file of the kernel's exported symbols, in the format of Module.symvers."""
        return self.folder / "exports"

    @property
    def config(self) -> Path:
        """The file of the kernel's configuration, in the format of .config; it may be empty."""
        return self.folder / "config"


@cache.as_host_error()
def ensure(spec: GuestSpec, *, progress: Progress | None = None) -> SavedState:
    """The saved state of a guest; if it is missing, make the guest's image, boot it, and save it.

    Args:
        spec: the guest's description.
        progress: shows what is done; None shows nothing.

    Raises:
        HostError: this host can't do so; the message says what it lacks.
        GuestError: the guest does not boot, or its kernel reports trouble at each boot.
    """
    progress = progress or NoProgress()
    kernel = _own_kernel(spec, progress)
    made = image.ensure(spec, progress=progress)
    if not (chosen := accelerator.known_accelerator(spec)):
        progress.message("finding out whether KVM works here: booting a kernel under it")
        chosen = kvm_probe.choose(spec, made.kernel)
    booting = _Boot(spec, made, kernel or made.kernel, chosen)
    folder = booting.folder

    def waiting() -> AbstractContextManager[object]:
        return progress.task(f"waiting for another process that boots {spec.name}")

    def make() -> None:
        with booting.making() as making:
            _boot_and_save(booting, making, progress)

    return cache.ensure(
        lambda: read(folder), make, lock=f"saved-state-{spec.name}", waiting=waiting
    )


def _own_kernel(spec: GuestSpec, progress: Progress) -> Kernel | None:
    """The kernel that a guest boots instead of its image's; None if it boots that."""
    if spec.kernel_tree:
        return kernel_tree.ensure(spec, progress=progress)
    if spec.kernel_source:
        return kernel_source.ensure(spec, progress=progress)
    return None


def read(folder: Path) -> SavedState | None:
    """The saved state in a folder; None if there is none, or its image or kernel is gone.

    An image that was made again has another disk, and another host key.
    """
    facts = json_store.read(folder / in_use.FACTS_FILE, in_use.FACTS)
    accel = facts and json_store.checked(facts["accel"], _ACCEL_FACTS)
    if facts is None or accel is None:
        return None
    made = image.read(Path(facts["image"]))
    if made is None or facts["host_key"] not in (None, made.host_key):
        return None
    kernel = kernels.read(Path(facts["kernel"])) or made.kernel
    if str(kernel.folder) != facts["kernel"]:
        return None
    try:
        spec = guest_specs.from_facts(facts["spec"])
    except UsageError:  # another version of this program has other fields
        return None
    for used in (made.folder, kernel.folder, folder):
        cache.mark_used(used)
    return SavedState(
        folder=folder,
        spec=spec,
        image=made,
        kernel=kernel,
        accel=Accelerator(**accel),
        vermagic=facts["vermagic"],
        uuid=facts["uuid"] or "",
    )


def all_folder() -> Path:
    """Return the folder that has all saved states."""
    return cache.folder() / "saved-states"


@dataclass(frozen=True)
class _Boot:
    """What a guest is booted with."""

    spec: GuestSpec
    image: Image
    kernel: Kernel
    accel: Accelerator

    @property
    def folder(self) -> Path:
        """The folder of the saved state."""
        line = command_line.for_guest(self.spec, self.kernel, self.accel, port=0)
        host = f"{version_of(self.spec.qemu)}{self.accel.host_cpu}"
        made_of = f"{FORMAT} {self.image.folder.name} {line}{host}"
        digest = hashlib.sha256(made_of.encode()).hexdigest()[:12]
        return all_folder() / f"{self._siblings}-{digest}"

    def making(self) -> AbstractContextManager[Path]:
        """Create the folder, and remove what is not in use any more."""
        short = self.spec.kernel_tree
        return cache.atomic_folder(
            self.folder,
            siblings=self._siblings,
            unused_seconds=cache.SHORT_LIVED_SECONDS if short else cache.UNUSED_SECONDS,
            keep=in_use.saved_states(),
        )

    @property
    def _siblings(self) -> str:
        if not self.spec.kernel_tree:
            return self.spec.name
        return f"{self.spec.name}-{self.kernel.folder.name.rpartition('-')[0]}"  # of each tree


def _facts(booting: _Boot, vermagic: str) -> dict[str, object]:
    """The facts about a guest that has booted, for read()."""
    return {
        "uuid": uuid.uuid4().hex,
        "vermagic": vermagic,
        "image": str(booting.image.folder),
        "host_key": booting.image.host_key,
        "kernel": str(booting.kernel.folder),
        "accel": asdict(booting.accel),
        "spec": asdict(booting.spec),
    }


def _boot_and_save(booting: _Boot, folder: Path, progress: Progress) -> None:
    """Boot a guest until its kernel reports no trouble, and save its state."""
    spec, chosen = booting.spec, booting.accel
    progress.message(f"{spec.name} runs under {chosen.name}: {chosen.reason}")
    before: list[Report] = []
    for others in reversed(range(_BOOTS)):
        with (
            progress.task(f"booting {spec.name} once") as task,
            _booted(booting, folder, task) as machine,
        ):
            found = trouble.reports(machine.console_log.read_text(errors="replace"))
            bad = unexpected_reports(found, before)
            if not bad:
                task.at(0.95, "saving its state")
                state_file.save(machine, folder / STATE)
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
            f"{spec.name} gives this warning at each boot, so it is ignored: {found[0].title}"
        )
    for name in qemu_process.OF_PROCESS:
        (folder / name).unlink(missing_ok=True)


def unexpected_reports(found: Sequence[Report], before: Sequence[Report]) -> list[Report]:
    """The reports of a boot because of which its state must not be saved. Pure.

    A report means that the kernel is damaged, or that the host was too busy for it, and every
    machine started from the state would begin with that. The exception is a warning that the
    boot before gave, too: this kernel always warns at that place, and continues.

    Args:
        found: the reports of the boot.
        before: the reports of the boot before.
    """
    usual = {_where(report) for report in before if report.kind == "warning"}
    return [report for report in found if _where(report) not in usual]


def _where(report: Report) -> str:
    """The part of a report's first line that is the same at each boot."""
    return re.sub(r"\b(CPU|PID): \d+|, CPU#\d+: .*", r"\1", report.title)


@contextmanager
def _booted(booting: _Boot, folder: Path, task: Task) -> Iterator[Machine]:
    """Boot a guest, write the facts about its kernel to the folder, and yield the stopped guest."""
    spec, made, kernel, chosen = booting.spec, booting.image, booting.kernel, booting.accel
    task.at(0.05, "kernel")
    qemu_process.make_overlay(folder / command_line.DISK, made.root, "raw")
    machine = Machine.start(spec, kernel, chosen, folder=folder, persistent=False)
    try:
        with machine.console(timeout_factor=chosen.timeout_factor) as console:
            console.wait_boot(BOOT_SECONDS, watch=machine.check_disk)
        task.at(0.7, "waiting for it to settle")
        ssh = machine.ssh(made, watch=machine.check_disk)
        ssh.connect(qemu_process.ANSWER_SECONDS * chosen.timeout_factor)
        limit = 60 * chosen.timeout_factor
        ssh.run("systemctl is-system-running --wait", seconds=limit)
        if kernel.files:
            task.at(0.8, "unpacking its kernel's modules")
            ssh.run(_UNPACK, seconds=limit, stdin=kernel.files.read_bytes()).check()
        asked = kernel_facts(ssh, kernel.vermagic, seconds=limit)
        ssh.run("sync", seconds=limit)
        ssh.close()
        machine.qmp("stop")
        (folder / "exports").write_text(asked.exports, encoding="utf-8")
        (folder / "config").write_text(asked.config, encoding="utf-8")
        json_store.write(folder / in_use.FACTS_FILE, _facts(booting, asked.vermagic))
        yield machine
    except GuestError as error:
        raise type(error)(f"{spec.name}: {error}\n{machine.last_words()}") from error
    finally:
        machine.end()


@dataclass(frozen=True)
class KernelFacts:
    """What modules for a kernel must match.

    Attributes:
        vermagic: the ``vermagic`` field of modules for it.
        exports: the text of its Module.symvers.
        config: the text of its ``.config``; empty if the guest does not have it.
    """

    vermagic: str
    exports: str
    config: str


def kernel_facts(ssh: Ssh, vermagic: str = "", *, seconds: float) -> KernelFacts:
    """Read from a guest what modules for its kernel must match.

    Args:
        ssh: a connection to the guest.
        vermagic: the ``vermagic`` field of modules for the kernel, if it is known; otherwise it is
            read from a module that comes with the kernel.
        seconds: the time limit of each command.

    Raises:
        CheckFailed: the guest lacks the kernel's modules or headers.
        GuestTimeout: the guest does not answer in time.
        GuestError: the connection is lost.
    """
    folder = "/lib/modules/$(uname -r)"
    if not vermagic:
        find = f"find {folder}/kernel -name '*.ko*' -print -quit"
        vermagic = ssh.run(f"modinfo -F vermagic $({find})", seconds=seconds).check().stdout.strip()
    exports = ssh.run(f"cat {folder}/build/Module.symvers", seconds=seconds).check()
    read = "zcat /proc/config.gz 2>/dev/null || cat /boot/config-$(uname -r) 2>/dev/null || true"
    return KernelFacts(vermagic, exports.stdout, ssh.run(read, seconds=seconds).stdout)
