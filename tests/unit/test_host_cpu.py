# SPDX-License-Identifier: GPL-2.0
"""Under KVM a guest has the host's CPU, and its saved state goes on with that CPU only."""

from pathlib import Path

import pytest

from pyharness.machine import accelerator, guest_specs, saved_states
from pyharness.machine.accelerator import Accelerator
from pyharness.machine.image import Image

SPEC = guest_specs.find("bookworm-amd64")
X86 = """processor\t: 0
model name\t: AMD EPYC
microcode\t: 0x1000065
cpu MHz\t\t: 2445.400
apicid\t\t: 0
flags\t\t: fpu vme avx2
bogomips\t: 4890.80
"""
ARM = """processor\t: 0
BogoMIPS\t: 243.75
Features\t: fp asimd evtstrm
CPU implementer\t: 0x41
CPU part\t: 0xd0c
"""


def state(monkeypatch: pytest.MonkeyPatch, folder: Path, name: str, cpu_info: str) -> str:
    """The name of the saved state on a host with a CPU."""
    file = folder / "cpuinfo"
    file.write_text(cpu_info, encoding="ascii")
    monkeypatch.setenv("PYHARNESS_CACHE", str(folder))
    monkeypatch.setattr(accelerator, "_CPU_INFO", file)
    image = Image(folder=folder / "image", release="6.1", version="1", host_key="")
    chosen = Accelerator(name=name, reason="made up")
    return saved_states._Boot(SPEC, image, image.kernel, chosen).folder.name


@pytest.mark.parametrize(
    ("info", "old", "new"),
    [
        (X86, "EPYC", "EPYC 2"),
        (X86, "0x1000065", "0x1000066"),
        (X86, "avx2", "avx512f"),
        (ARM, "evtstrm", "sve"),
        (ARM, "0xd0c", "0xd0d"),
    ],
)
def test_another_cpu_needs_another_state_under_kvm_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, info: str, old: str, new: str
) -> None:
    states = {
        accel: [
            state(monkeypatch, tmp_path, accel, text) for text in (info, info.replace(old, new))
        ]
        for accel in ("kvm", "tcg")
    }
    assert states["kvm"][0] != states["kvm"][1]
    assert states["tcg"][0] == states["tcg"][1]


def test_what_changes_by_itself_does_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    later = X86.replace("2445.400", "3200.0").replace("4890.80", "4890.79")
    second = later.replace("processor\t: 0", "processor\t: 1").replace("apicid\t\t: 0", "apicid: 1")
    names = {state(monkeypatch, tmp_path, "kvm", text) for text in (X86, later, X86 + second)}
    assert len(names) == 1
