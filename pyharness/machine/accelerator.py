# SPDX-License-Identifier: GPL-2.0
"""The accelerator that runs a guest, KVM or TCG, if known without a probe; see kvm_probe.py."""

import os
import platform
import re
from dataclasses import asdict, dataclass
from pathlib import Path

from pyharness.errors import UsageError
from pyharness.host import cache, json_store, privileges
from pyharness.host.programs import version_of
from pyharness.machine.guest_specs import GuestSpec

# The environment variable that names the accelerator, kvm or tcg; then none is probed.
ENV_VAR = "PYHARNESS_ACCEL"
_DEVICE = Path("/dev/kvm")
_CPU_INFO = Path("/proc/cpuinfo")
# What identifies the kind of a CPU in that file: on x86, and on arm64. Other lines have the number
# or the present frequency of each CPU.
_CPU_KIND = {
    "vendor_id", "cpu family", "model", "model name", "stepping", "microcode", "flags",
    "CPU implementer", "CPU architecture", "CPU variant", "CPU part", "CPU revision", "Features",
}  # fmt: skip
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
# The host architecture on which each emulator can use KVM.
_NATIVE = {
    "qemu-system-i386": "x86_64",
    "qemu-system-x86_64": "x86_64",
    "qemu-system-aarch64": "aarch64",
}


@dataclass(frozen=True, kw_only=True)
class Accelerator:
    """How a guest's instructions are executed.

    Attributes:
        name: ``kvm`` or ``tcg``.
        reason: why this accelerator was chosen, for people.
        timeout_factor: the factor by which time limits are multiplied.
    """

    name: str
    reason: str

    @property
    def timeout_factor(self) -> float:
        """The factor by which time limits for real hardware are multiplied."""
        return 1.0 if self.name == "kvm" else 6.0

    @property
    def host_cpu(self) -> str:
        """The kind of the host's CPU if the guest has that CPU; empty if QEMU emulates one.

        A guest that was saved can go on only with the CPU that it has seen at its boot.
        """
        if self.name != "kvm":
            return ""
        return cpu_kind(_CPU_INFO.read_text(encoding="utf-8", errors="replace"))

    def arguments(self, spec: GuestSpec) -> list[str]:
        """QEMU's arguments for this accelerator and the CPU.

        With KVM the guest has the host's CPU, with TCG the CPU of its description.

        Args:
            spec: the guest's description.

        Raises:
            HostError: QEMU isn't installed, or does not print its version.
        """
        if self.name == "kvm":
            return ["-accel", "kvm", "-cpu", "host"]
        return ["-accel", f"tcg,thread={_threads(spec.qemu)}", "-cpu", spec.cpu]


def _threads(emulator: str) -> str:
    """TCG's thread mode: ``multi`` if each emulated CPU can have a thread of its own.

    In QEMU 7.2 a CPU may continue to execute instructions that another CPU has patched: a
    kernel that hooks a busy function then jumps to address 0, or misses the hook. QEMU 10.0
    does not have this fault.
    """
    found = re.search(r"version (\d+)", version_of(emulator))
    return "multi" if found and int(found[1]) >= 10 else "single"


def cpu_kind(cpu_info: str) -> str:
    """What identifies the kinds of a host's CPUs: model, features and microcode. Pure.

    Args:
        cpu_info: the text of /proc/cpuinfo.
    """
    lines = {line for line in cpu_info.splitlines() if line.partition(":")[0].strip() in _CPU_KIND}
    return "\n".join(sorted(lines))


def tcg(reason: str) -> Accelerator:
    """QEMU's own emulation.

    Args:
        reason: why it was chosen, for people.
    """
    return Accelerator(name="tcg", reason=reason)


def known_accelerator(spec: GuestSpec) -> Accelerator | None:
    """The accelerator of a guest; None if a kernel must be booted to find it out.

    Args:
        spec: the guest's description.

    Raises:
        UsageError: ``PYHARNESS_ACCEL`` is neither ``kvm`` nor ``tcg``.
    """
    if _NATIVE.get(spec.qemu) != platform.machine():
        return tcg(f"{spec.architecture} guests on {platform.machine()} hosts can't use KVM")
    if named := os.environ.get(ENV_VAR):
        if named not in ("kvm", "tcg"):
            raise UsageError(f"{ENV_VAR}={named}: it is kvm or tcg")
        return Accelerator(name=named, reason=f"{ENV_VAR} says so")
    if not _DEVICE.exists():
        return tcg("this host has no /dev/kvm")
    if obstacle := privileges.to_use(_DEVICE):
        return tcg(str(obstacle))
    return _remembered(spec)


def remember(spec: GuestSpec, accelerator: Accelerator) -> None:
    """Store the accelerator that was found for an emulator, until the host's next boot.

    Args:
        spec: the guest's description, which names the emulator.
        accelerator: what was found.
    """
    memory = _memory(spec)
    memory.parent.mkdir(exist_ok=True)
    facts = asdict(accelerator) | {"boot": _boot_id()}
    json_store.write(memory, facts)


def _boot_id() -> str:
    return _BOOT_ID.read_text(encoding="ascii").strip()


def _memory(spec: GuestSpec) -> Path:
    return cache.folder() / "accel" / f"{spec.qemu}.json"


def _remembered(spec: GuestSpec) -> Accelerator | None:
    facts = json_store.read(_memory(spec), dict.fromkeys(("name", "reason", "boot"), str))
    if facts is None or facts.pop("boot") != _boot_id():
        return None
    return Accelerator(**facts)
