# SPDX-License-Identifier: GPL-2.0
"""What the cache keeps of builds; the compilers are stand-ins."""

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
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


def test_the_first_of_two_results_is_kept(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes may build the same at a time, and use what they have built."""

    class Late(Counting):
        def make(self, *asked: object) -> Made:
            monkeypatch.setattr(build, "_building", {})  # as in another process
            built(folder, Counting())
            self.times = 1
            return super().make(*asked)

    assert built(folder, Late()).ko.read_bytes() == b"built 1"


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


class Slow(Counting):
    """A compiler that counts how many builds it is asked for at a time."""

    def __init__(self) -> None:
        """Nobody builds yet."""
        super().__init__()
        self.together = 0
        self._now = 0

    def make(self, *asked: object) -> Made:
        self._now += 1
        time.sleep(0.2)
        self.together = max(self.together, self._now)
        self._now -= 1
        return super().make(*asked)


def test_threads_build_the_same_module_one_after_another(folder: Path) -> None:
    """Both would build in one folder."""
    compiler = Slow()
    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(lambda _: built(folder, compiler), range(2)))
    assert (compiler.together, compiler.times) == (1, 1)
    assert [one.ko.read_bytes() for one in done] == [b"built 1"] * 2


def test_a_thread_does_not_wait_for_the_build_of_another_module(folder: Path) -> None:
    met = threading.Barrier(2, timeout=60)

    class Meeting(Counting):
        def make(self, *asked: object) -> Made:
            met.wait()
            return super().make(*asked)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda kernel: built(folder, Meeting(), kernel=kernel), ("one", "two")))
