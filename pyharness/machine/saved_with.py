# SPDX-License-Identifier: GPL-2.0
"""The CPU and the QEMU with which a machine's memory was saved: it can go on with no others."""

import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pyharness.errors import HostError
from pyharness.host import json_store
from pyharness.host.programs import version_of
from pyharness.machine.accelerator import Accelerator
from pyharness.machine.qemu_process import Machine

# The name of the memory of a machine that is suspended; other names are those of snapshots.
SUSPENDED = ""
# In a machine's folder, what its memory was saved with, by name.
_FILE = "saved-with.json"
_FACTS = {"cpu": str, "qemu": str}
_RELEASE = re.compile(r"version (\d+\.\d+)")
# Words among the CPU's features in /proc/cpuinfo that Linux makes up, of the CPU's model, its own
# workarounds and its boot options (X86_FEATURE_ in cpufeatures.h). They show in no guest.
_OF_LINUX = {
    "acc_power", "amd_dcm", "aperfmperf", "arch_perfmon", "art", "bts", "constant_tsc", "cpb",
    "cpuid", "cpuid_fault", "extd_apicid", "hw_pstate", "ibpb", "ibrs", "ibrs_enhanced",
    "invpcid_single", "k8", "nonstop_tsc", "nonstop_tsc_s3", "nopl", "pebs", "proc_feedback", "pti",
    "rapl", "rep_good", "ring3mwait", "ssbd", "stibp", "tsc_known_freq", "tsc_reliable", "up",
    "xtopology",
}  # fmt: skip


@dataclass(frozen=True)
class Host:
    """What a machine's memory depends on.

    Attributes:
        cpu: the kind of the host's CPU if the guest has that CPU; empty if QEMU emulates one.
        qemu: QEMU's release, such as ``7.2``; it has its own versions of the emulated machines.
    """

    cpu: str
    qemu: str

    def has_cpu_of(self, saved: "Host") -> bool:
        """Whether a guest that was saved on another host finds its CPU, with all features, here."""
        kind, features = _kind_and_features(self.cpu)
        kind_of_saved, features_of_saved = _kind_and_features(saved.cpu)
        return kind == kind_of_saved and features >= features_of_saved


def _kind_and_features(cpu: str) -> tuple[set[str], set[str]]:
    """The lines that name a kind of CPU, and its features, as far as a guest can see them."""
    kind: set[str] = set()
    features: set[str] = set()
    for line in cpu.splitlines():
        field, _, value = line.partition(":")
        if field.strip() in ("flags", "Features"):
            features |= {*value.split()} - _OF_LINUX
        elif field.strip() != "microcode":
            kind.add(line)
    return kind, features


def running(machine: Machine) -> Host:
    """What a machine runs with.

    Raises:
        GuestError: QEMU is gone, or does not answer.
    """
    version = machine.qmp("query-version")["qemu"]
    return Host(_cpu(machine.accel), f"{version['major']}.{version['minor']}")


def installed(qemu: str, accel: str) -> Host:
    """What a machine would run with if it was started now.

    Args:
        qemu: the name of the emulator.
        accel: ``kvm`` or ``tcg``.

    Raises:
        HostError: QEMU isn't installed, or does not print its version.
    """
    version = version_of(qemu)
    found = _RELEASE.search(version)
    return Host(_cpu(accel), found[1] if found else version)


def _cpu(accel: str) -> str:
    return Accelerator(name=accel, reason="").host_cpu


def note(machine: Machine, name: str) -> None:
    """Note with what a machine's memory is saved.

    Args:
        machine: the machine, which runs.
        name: the snapshot's name, or SUSPENDED.

    Raises:
        GuestError: QEMU is gone, or does not answer.
        OSError: the note can't be written.
    """
    notes = _notes(machine.folder) | {name: asdict(running(machine))}
    json_store.write(machine.folder / _FILE, {"notes": notes})


def check(folder: Path, name: str, here: Host, *, what: str, again: str, fix: str) -> None:
    """Check that a machine's memory can go on here. It can if nothing is noted about it.

    Args:
        folder: the machine's folder.
        name: the snapshot's name, or SUSPENDED.
        here: what the machine is to go on with.
        what: what the memory is that of, for the error message.
        again: the verb for going on, for the error message.
        fix: what to do instead, for the error message.

    Raises:
        HostError: it was saved with another CPU or QEMU.
    """
    facts = json_store.checked(_notes(folder).get(name), _FACTS)
    if facts is None:
        return
    saved = Host(**facts)
    if not here.has_cpu_of(saved):
        raise HostError(
            f"{what} was saved with another CPU: {again} it on a host with that one, or {fix}"
        )
    if saved.qemu != here.qemu:
        raise HostError(
            f"{what} was saved by QEMU {saved.qemu}, and can't go on in {here.qemu}: {fix}"
        )


def _notes(folder: Path) -> dict[str, Any]:
    known = json_store.read(folder / _FILE, {"notes": dict})
    return known["notes"] if known else {}
