# SPDX-License-Identifier: GPL-2.0
"""Under KVM a guest has the host's CPU, and its saved state goes on with that CPU only."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import fake_monitor
import pytest
import stand_in
from fake_monitor import Monitor

from pyharness.errors import HostError
from pyharness.host import cache
from pyharness.machine import (
    accelerator,
    guest_specs,
    lifecycle,
    saved_states,
    saved_with,
    snapshots,
)
from pyharness.machine.accelerator import Accelerator
from pyharness.machine.image import Image
from pyharness.machine.qemu_process import Machine

SPEC = guest_specs.find("bookworm-amd64")
X86 = """processor\t: 0
model name\t: AMD EPYC
microcode\t: 0x1000065
cpu MHz\t\t: 2445.400
apicid\t\t: 0
flags\t\t: fpu vme nopl avx2
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


MICROCODE = ("0x1000065", "0x1000066")
OTHERS = [("kvm", "EPYC", "EPYC 2"), ("kvm", "avx2", "avx512f"), ("kvm", " avx2", "")]
ALIKE = [
    ("kvm", "", ""),
    ("kvm", *MICROCODE),
    ("kvm", "nopl", "retpoline pti"),
    ("kvm", "avx2", "avx2 avx512f"),
    ("tcg", "EPYC", "EPYC 2"),
]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    """A persistent machine that can be saved, and that was started from a state."""

    def save(_arguments: Mapping[str, Any]) -> object:
        (folder / "state.new").touch()
        return {}

    with stand_in.saved_state(tmp_path, monkeypatch, stand_in.IDLE) as saved:
        folder = cache.run_folder() / saved.spec.name
        folder.mkdir()
        monkeypatch.setattr(lifecycle, "_saved_state_in", lambda *_: replace(saved, accel=KVM))
        monkeypatch.setattr(lifecycle, "settle", lambda *_, **__: None)
        monkeypatch.setattr(lifecycle, "_check_has_ended", lambda _name: None)
        monkeypatch.setattr(lifecycle, "_start", lambda *_, **__: None)
        monkeypatch.setattr(Machine, "end", lambda _machine: None)
        monkeypatch.setattr(Machine, "ssh", lambda *_: MagicMock())
        monitor = Monitor(
            {
                "migrate": save,
                "query-migrate": lambda _: {"status": "completed"},
                "human-monitor-command": lambda _: "--        one    100 MiB 2024-01-01",
            }
        )
        with fake_monitor.machine(folder, monitor) as running:
            yield replace(running, guest=saved.spec.name, accel="kvm")


KVM = Accelerator(name="kvm", reason="made up")


def move(monkeypatch: pytest.MonkeyPatch, folder: Path, cpu_info: str) -> None:
    """Have this host another CPU."""
    file = folder / "cpuinfo"
    file.write_text(cpu_info, encoding="ascii")
    monkeypatch.setattr(accelerator, "_CPU_INFO", file)


def save(machine: Machine, how: str) -> None:
    if how == "suspended":
        machine._remember()
        lifecycle.suspend(machine)
    else:
        snapshots.save(machine, "one")


def go_on(machine: Machine, how: str) -> None:
    if how == "suspended":
        lifecycle.start_again(machine.guest)
    else:
        snapshots.restore(machine, "one")


@pytest.mark.parametrize("how", ["suspended", "snapshot"])
@pytest.mark.parametrize("change", [*OTHERS, *ALIKE])
def test_a_machine_goes_on_with_its_cpu(
    machine: Machine,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    how: str,
    change: tuple[str, str, str],
) -> None:
    """Its features count, as a guest sees them.

    An update of the microcode, or of Linux, which comes with a boot, may keep them or add to them.
    """
    accel, old, new = change
    machine = replace(machine, accel=accel)
    saved = replace(lifecycle._saved_state_in(machine.folder, ""), accel=replace(KVM, name=accel))
    monkeypatch.setattr(lifecycle, "_saved_state_in", lambda *_: saved)
    move(monkeypatch, tmp_path, X86)
    save(machine, how)
    move(monkeypatch, tmp_path, X86.replace(old, new))
    if change in OTHERS:
        with pytest.raises(HostError, match=r"was saved with another CPU: res(um|tor)e it on a "):
            go_on(machine, how)
    else:
        go_on(machine, how)


@pytest.mark.parametrize("how", ["suspended", "snapshot"])
@pytest.mark.parametrize("other", [True, False])
def test_a_machine_goes_on_in_its_release_of_qemu(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, how: str, other: bool
) -> None:
    """An update of it has another number at the end."""
    with monkeypatch.context() as there:
        version = {"major": 7, "minor": 1 if other else 2, "micro": 5}
        there.setattr(fake_monitor, "VERSION", {"qemu": version})
        save(machine, how)
    if other:
        with pytest.raises(HostError, match=r"was saved by QEMU 7\.1, and can't go on in 7\.2: "):
            go_on(machine, how)
    else:
        go_on(machine, how)


@pytest.mark.parametrize("how", ["suspended", "snapshot"])
def test_a_machine_that_an_earlier_version_saved_goes_on(machine: Machine, how: str) -> None:
    save(machine, how)
    (machine.folder / saved_with._FILE).unlink(missing_ok=True)
    go_on(machine, how)
