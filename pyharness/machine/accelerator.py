# SPDX-License-Identifier: GPL-2.0
"""Whether KVM works on this host: found out by booting a kernel, then remembered.

``/dev/kvm`` that exists and opens proves nothing. There are machines (nested
ones, PVM) where a stock kernel hangs under it at its first instructions, with
the CPU at 100 %.
"""

import json
import os
import platform
import re
import subprocess
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from pyharness.errors import UsageError
from pyharness.host import json_store, paths, privileges, signals
from pyharness.host.programs import die_with_parent, environment, version_of
from pyharness.machine.guest_specs import GuestSpec
from pyharness.machine.image import Image

# Names the accelerator to use, kvm or tcg, instead of finding out.
NAMED = "PYHARNESS_ACCEL"
_DEVICE = Path("/dev/kvm")
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_PROBE_SECONDS = 10.0
# The host architectures whose KVM runs an emulator's guests.
_NATIVE = {
    "qemu-system-i386": "x86_64",
    "qemu-system-x86_64": "x86_64",
    "qemu-system-aarch64": "aarch64",
}


@dataclass(frozen=True, kw_only=True)
class Accelerator:
    """How a guest's instructions are carried out.

    Attributes:
        name: ``kvm`` or ``tcg``.
        reason: why this one, for a person.
        timeout_factor: what a time limit is multiplied by.
    """

    name: str
    reason: str

    @property
    def timeout_factor(self) -> float:
        """How much longer to wait than on real hardware."""
        return 1.0 if self.name == "kvm" else 6.0

    def arguments(self, spec: GuestSpec) -> list[str]:
        """What QEMU is told; without KVM the guest has the CPU of its description."""
        if self.name == "kvm":
            return ["-accel", "kvm", "-cpu", "host"]
        return ["-accel", f"tcg,thread={_threads(spec.qemu)}", "-cpu", spec.cpu]


def _threads(emulator: str) -> str:
    """Whether each emulated CPU can have a thread of its own.

    In QEMU 7.2 one may go on with instructions that another has patched by
    then: a kernel that hooks a busy function jumps to address 0, or misses the
    hook. Not so in 10.0.
    """
    found = re.search(r"version (\d+)", version_of(emulator))
    return "multi" if found and int(found[1]) >= 10 else "single"


def _tcg(reason: str) -> Accelerator:
    return Accelerator(name="tcg", reason=reason)


def known_accelerator(spec: GuestSpec) -> Accelerator | None:
    """The accelerator, where no kernel need be booted to know it.

    Raises:
        UsageError: PYHARNESS_ACCEL names none.
    """
    if _NATIVE.get(spec.qemu) != platform.machine():
        return _tcg(f"{spec.architecture} guests on {platform.machine()} hosts can't use KVM")
    if named := os.environ.get(NAMED):
        if named not in ("kvm", "tcg"):
            raise UsageError(f"{NAMED}={named}: it is kvm or tcg")
        return Accelerator(name=named, reason=f"{NAMED} says so")
    if not _DEVICE.exists():
        return _tcg("this host has no /dev/kvm")
    if obstacle := privileges.to_use(_DEVICE):
        return _tcg(str(obstacle))
    return _remembered(spec)


def choose(spec: GuestSpec, image: Image) -> Accelerator:
    """The accelerator to use; takes some seconds the first time after the host's boot."""
    if known := known_accelerator(spec):
        return known
    with paths.locked("accel"):
        if known := known_accelerator(spec):
            return known
        answer = _probe(spec, image)
        memory = _memory(spec)
        memory.parent.mkdir(exist_ok=True)
        facts = asdict(answer) | {"boot": _boot_id()}
        making = memory.with_suffix(".new")
        making.write_text(json.dumps(facts), encoding="utf-8")
        making.rename(memory)
    return answer


def _boot_id() -> str:
    return _BOOT_ID.read_text(encoding="ascii").strip()


def _memory(spec: GuestSpec) -> Path:
    return paths.cache() / "accel" / f"{spec.qemu}.json"


def _remembered(spec: GuestSpec) -> Accelerator | None:
    facts = json_store.read(_memory(spec), dict.fromkeys(("name", "reason", "boot"), str))
    if facts is None or facts.pop("boot") != _boot_id():
        return None
    return Accelerator(**facts)


def _probe(spec: GuestSpec, image: Image) -> Accelerator:
    """Boot the kernel without a root file system: a KVM that works gets to its panic."""
    begin = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        console = Path(folder) / "console"
        command = [
            spec.qemu, "-machine", spec.machine, "-accel", "kvm", "-cpu", "host", "-m", "256",
            "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
            "-serial", f"file:{console.name}", "-kernel", str(image.kernel),
            "-append", f"console={spec.console} panic=-1",
        ]  # fmt: skip
        process = subprocess.Popen(
            die_with_parent(command),
            cwd=folder,  # QEMU may dump core, and splits paths in options at commas
            env=environment(),
            stdin=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        with signals.ended(process):
            try:
                process.wait(_PROBE_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                return _tcg(
                    f"KVM opens, but a kernel hangs under it (tried for {_PROBE_SECONDS} s)"
                )
            if b"Kernel panic" in (console.read_bytes() if console.exists() else b""):
                took = time.monotonic() - begin
                return Accelerator(name="kvm", reason=f"a kernel booted under it in {took:.1f} s")
    return _tcg("KVM opens, but QEMU ends when it uses it")
