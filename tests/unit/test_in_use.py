# SPDX-License-Identifier: GPL-2.0
"""What machines were started from is kept, however long ago: they may be suspended, or off."""

import os
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from pyharness.host import cache, json_store
from pyharness.host.progress import NoProgress
from pyharness.machine import (
    accelerator,
    guest_specs,
    image,
    in_use,
    kernel_packages,
    kernel_source,
    mmdebstrap,
    saved_states,
)
from pyharness.machine.image import Image

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
