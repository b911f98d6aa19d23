# SPDX-License-Identifier: GPL-2.0
"""What the cache keeps of builds; the compilers are stand-ins."""

import os
import time
from pathlib import Path
from typing import cast

import pytest

from pyharness.guest import build
from pyharness.guest.build import Built
from pyharness.guest.compilers import Compiler, Made
from pyharness.guest.module_source import ModuleSource
from pyharness.host import cache


class Counting:
    """A compiler that says how often it has built."""

    def __init__(self) -> None:
        """Begin at 0."""
        self.times = 0

    def folder(self, name: str) -> str:
        return f"/build/{name}"

    def make(self, *_: object) -> Made:
        self.times += 1
        return Made(0, f"warning: {self.times}", {"m.ko": b"built %d" % self.times}, "", {})


@pytest.fixture(autouse=True)
def cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYHARNESS_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "source"
    made.mkdir()
    (made / "Kbuild").write_text("obj-m := m.o\n", encoding="ascii")
    return made


def built(folder: Path, compiler: Counting, *, kernel: str = "kernel", anew: bool = False) -> Built:
    return build.build(ModuleSource(folder), kernel, cast("Compiler", compiler), anew=anew)


def test_a_build_anew_replaces_the_result(folder: Path) -> None:
    compiler = Counting()
    built(folder, compiler)
    again = built(folder, compiler, anew=True)
    assert again.ko.read_bytes() == b"built 2"
    assert again.warnings == ["warning: 2"]
    found = build.find(ModuleSource(folder), "kernel")
    assert found
    assert found.cached
    assert found.ko.read_bytes() == b"built 2"


def test_a_damaged_result_is_replaced(folder: Path) -> None:
    built(folder, Counting()).ko.write_bytes(b"")
    again = built(folder, Counting(), anew=True)
    assert again.ko.read_bytes() == b"built 1"


def test_the_first_of_two_results_is_kept(folder: Path) -> None:
    """Two processes may build the same at a time, and use what they have built."""
    compiler = Counting()
    for _ in range(2):
        assert built(folder, compiler).ko.read_bytes() == b"built 1"


def test_builds_that_were_not_used_for_long_are_removed(folder: Path) -> None:
    """And no file is left of any."""
    long_ago = time.time() - 30 * 24 * 3600
    for kernel in ("unused", "used"):
        os.utime(built(folder, Counting(), kernel=kernel).ko.parent, (long_ago, long_ago))
    assert build.find(ModuleSource(folder), "used")
    built(folder, Counting(), kernel="new")
    assert not build.find(ModuleSource(folder), "unused")
    assert build.find(ModuleSource(folder), "used")
    assert len([*(cache.folder() / "modules").iterdir()]) == 2
    assert len([*(cache.folder() / "locks").iterdir()]) == 1
