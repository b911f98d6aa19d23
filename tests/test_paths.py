# SPDX-License-Identifier: GPL-2.0
"""The cache stays sound, however a run ends."""

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pyharness import paths

_fork = multiprocessing.get_context("fork")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PYHARNESS_CACHE", str(tmp_path))
    return tmp_path


def killed_in(work: Callable[[], None], begun: Path) -> None:
    """Have a process do something, and kill it once a file tells that it's in the middle."""
    process = _fork.Process(target=work)
    process.start()
    assert process.pid
    while not begun.exists():
        assert process.is_alive()
    os.kill(process.pid, signal.SIGKILL)
    process.join()


def test_made_whole(cache: Path) -> None:
    with paths.made_whole(cache / "x" / "target") as folder:
        (folder / "file").write_text("done", encoding="ascii")
        assert not (cache / "x" / "target").exists()
    assert [path.name for path in (cache / "x").rglob("*")] == ["target", "file"]


def test_an_error_leaves_nothing(cache: Path) -> None:
    with pytest.raises(OSError, match="disk full"), paths.made_whole(cache / "x" / "target"):
        raise OSError("disk full")
    assert list((cache / "x").iterdir()) == []


def test_a_kill_leaves_nothing_for_long(cache: Path) -> None:
    begun = cache / "begun"

    def make() -> None:
        with paths.locked("x"), paths.made_whole(cache / "x" / "target") as folder:
            (folder / "half").touch()
            begun.touch()
            signal.pause()

    killed_in(make, begun)
    assert len(list((cache / "x").iterdir())) == 1
    with paths.locked("x"), paths.made_whole(cache / "x" / "target"):
        pass
    assert [path.name for path in (cache / "x").rglob("*")] == ["target"]


def test_what_is_not_used_goes_when_its_like_is_made(cache: Path) -> None:
    for name in ("a-old", "a-new", "b-old", ".a-other.1234"):
        (cache / "x" / name).mkdir(parents=True)
    month_ago = time.time() - 30 * 24 * 3600
    for name in ("a-old", "a-new", "b-old"):
        os.utime(cache / "x" / name, (month_ago, month_ago))
    paths.used(cache / "x" / "a-new")
    with paths.made_whole(cache / "x" / "a-target", kin="a-*"):
        pass
    assert {path.name for path in (cache / "x").iterdir()} == {"a-new", "b-old", "a-target"}


def test_one_at_a_time(cache: Path) -> None:
    """A second one waits, and says so; the kernel gives the lock back of who was killed."""
    begun, told = cache / "begun", []

    def hold() -> None:
        with paths.locked("x"):
            begun.touch()
            signal.pause()

    process = _fork.Process(target=hold)
    process.start()
    assert process.pid
    while not begun.exists():
        assert process.is_alive()

    def waiting() -> None:
        told.append(True)
        assert process.pid
        os.kill(process.pid, signal.SIGKILL)

    with paths.locked("x", waiting=waiting):
        assert told == [True]
    process.join()
