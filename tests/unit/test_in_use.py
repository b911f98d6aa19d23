# SPDX-License-Identifier: GPL-2.0
"""What machines were started from is kept, however long ago: they may be suspended, or off."""

import os
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import fake_monitor
import pytest

from pyharness.errors import GuestError
from pyharness.host import cache, json_store
from pyharness.host.progress import NoProgress
from pyharness.machine import (
    accelerator,
    guest_specs,
    image,
    in_use,
    kernel_packages,
    kernel_source,
    lifecycle,
    mmdebstrap,
    qemu_process,
    saved_states,
)
from pyharness.machine.image import Image
from pyharness.machine.qemu_process import Machine
from pyharness.machine.saved_states import SavedState

SPEC = guest_specs.find("bookworm-amd64")
SHOWN = NoProgress()
ACCEL = accelerator.tcg("made up")
USED, UNUSED = "a" * 12, "b" * 12


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYHARNESS_CACHE", str(tmp_path))
    monkeypatch.delenv("PYHARNESS_RUN", raising=False)
    monkeypatch.setattr(mmdebstrap, "check_host", lambda *_, **__: None)
    monkeypatch.setattr(mmdebstrap, "with_sources", lambda _suite, make, **_: make([]))


def old(kind: str, digest: str) -> Path:
    """A folder of the cache that was last used in 1970."""
    made = cache.folder() / kind / f"{SPEC.name}-{digest}"
    made.mkdir(parents=True)
    os.utime(made, (0, 0))
    return made


def make_image() -> None:
    image._make(SPEC, image.folder_of(SPEC), SHOWN, SHOWN)


def make_kernel() -> None:
    spec = replace(SPEC, kernel_source="linux-source-6.1")
    kernel_source._build(spec, "", kernel_source._folder(spec, ""), SHOWN, SHOWN)


def make_state() -> None:
    made = Image(folder=Path("/nosuch"), release="6.1", version="1", host_key="")
    with saved_states._Boot(SPEC, made, made.kernel, ACCEL).making():
        pass


@pytest.mark.parametrize(
    ("kind", "make"),
    [("images", make_image), ("kernels", make_kernel), ("saved-states", make_state)],
)
def test_it_outlives_its_like(
    monkeypatch: pytest.MonkeyPatch, kind: str, make: Callable[[], None]
) -> None:
    monkeypatch.setattr(image, "_make_from", lambda *_: None)
    monkeypatch.setattr(kernel_source, "_build_from", lambda *_: None)
    monkeypatch.setattr(image, "_public_key", lambda: "made up")
    monkeypatch.setattr(kernel_packages, "check", lambda _spec: None)
    folders = {name: old(name, USED) for name in ("images", "kernels", "saved-states")}
    json_store.write(
        folders["saved-states"] / in_use.FACTS_FILE,
        {
            "vermagic": "6.1",
            "image": str(folders["images"]),
            "kernel": str(folders["kernels"]),
            "accel": asdict(ACCEL),
            "spec": asdict(SPEC),
        },
    )
    os.utime(folders["saved-states"], (0, 0))
    machine = cache.run_folder() / SPEC.name
    machine.mkdir()
    (machine / in_use.STARTED_FROM).symlink_to(folders["saved-states"])
    unused = old(kind, UNUSED)
    make()
    assert folders[kind].exists()
    assert not unused.exists()


def write_image(host_key: str) -> Image:
    """An image, which has the host key that was made with it."""
    folder = cache.folder() / "images" / f"{SPEC.name}-{USED}"
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("root.raw", "vmlinuz", "initrd"):
        (folder / name).touch()
    facts = {"release": "6.1", "version": "1", "host_key": host_key}
    json_store.write(folder / "image.json", facts)
    return Image(folder=folder, **facts)


def write_state(made: Image, *without: str) -> SavedState:
    """A saved state, as one boot has made it."""
    booting = saved_states._Boot(SPEC, made, made.kernel, ACCEL)
    booting.folder.mkdir(parents=True, exist_ok=True)
    facts = saved_states._facts(booting, "6.1")
    known = {name: fact for name, fact in facts.items() if name not in without}
    json_store.write(booting.folder / in_use.FACTS_FILE, known)
    found = saved_states.read(booting.folder)
    assert found
    return found


def resting(saved: SavedState) -> Machine:
    """A persistent machine that was started from a state, and does not run."""
    folder = cache.run_folder() / SPEC.name
    folder.mkdir()
    lifecycle._prepare(folder, saved)
    return replace(fake_monitor.made_up(folder), guest=SPEC.name)


@pytest.fixture
def _no_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qemu_process, "make_overlay", lambda *_: None)


@pytest.mark.usefixtures("_no_disk")
@pytest.mark.parametrize("again", ["image", "saved state"])
def test_what_was_made_again_is_not_what_a_machine_was_started_from(again: str) -> None:
    """Its disk is another one, though the folder has the same name."""
    made = write_image("first")
    machine = resting(write_state(made))
    assert lifecycle.saved_state_of(machine).image == made
    if again == "image":
        write_image("second")
    else:
        write_state(made)
    with pytest.raises(GuestError, match=f"no longer exists: pyharness reset {SPEC.name} starts"):
        lifecycle.saved_state_of(machine)


@pytest.mark.usefixtures("_no_disk")
def test_a_state_of_an_earlier_version_can_be_used() -> None:
    made = write_image("first")
    machine = resting(write_state(made, "uuid", "host_key"))
    (machine.folder / lifecycle._STARTED_FROM_ID).unlink()  # that version did not write it
    assert lifecycle.saved_state_of(machine).image == made
    write_state(made)
    with pytest.raises(GuestError):
        lifecycle.saved_state_of(machine)


def test_machines_in_all_run_folders_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    used = old("saved-states", USED)
    for run in ("one", "two", "two"):
        monkeypatch.setenv("PYHARNESS_RUN", str(tmp_path / run))
        cache.run_folder()
    machine = cache.run_folder() / SPEC.name
    machine.mkdir()
    (machine / in_use.STARTED_FROM).symlink_to(used)
    monkeypatch.delenv("PYHARNESS_RUN")
    default = cache.run_folder() / SPEC.name
    assert in_use.saved_states() == {used}
    shutil.move(machine, default)
    monkeypatch.setenv("PYHARNESS_RUN", str(tmp_path / "one"))
    assert in_use.saved_states() == {used}


def test_a_run_folder_that_is_not_there_now_is_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its disk may not be mounted now, or another container may have it; or it can't be read."""
    run, link = tmp_path / "place" / "run", tmp_path / "long" / ("x" * 255 + "x")
    monkeypatch.setenv("PYHARNESS_RUN", str(run))
    cache.run_folder()
    monkeypatch.delenv("PYHARNESS_RUN")
    records = cache.folder() / "runs"
    (record,) = records.iterdir()
    (records / "another").symlink_to(link)  # to look at it is an error (ENAMETOOLONG)
    default = cache.run_folder()
    run.rename(tmp_path / "away")
    assert cache.run_folders() == {default}
    (tmp_path / "away").rename(run)
    assert cache.run_folders() == {default, run}
    shutil.rmtree(run)
    for one in records.iterdir():
        os.utime(one, (0, 0), follow_symlinks=False)
    assert cache.run_folders() == {default}
    assert not record.is_symlink(), "it was not used for long"
