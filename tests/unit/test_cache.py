# SPDX-License-Identifier: GPL-2.0
"""The cache stays sound, however a run ends."""

import errno
import multiprocessing
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pyharness import HostError, UsageError
from pyharness.host import cache
from pyharness.machine import lifecycle

_fork = multiprocessing.get_context("fork")


@pytest.fixture(autouse=True)
def cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
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


def test_a_folder_appears_only_when_it_is_complete(cache_folder: Path) -> None:
    with cache.atomic_folder(cache_folder / "x" / "target") as folder:
        (folder / "file").write_text("done", encoding="ascii")
        assert not (cache_folder / "x" / "target").exists()
    assert [path.name for path in (cache_folder / "x").rglob("*")] == ["target", "file"]


def test_an_error_leaves_nothing(cache_folder: Path) -> None:
    with (
        pytest.raises(OSError, match="disk full"),
        cache.atomic_folder(cache_folder / "x" / "target"),
    ):
        raise OSError("disk full")
    assert list((cache_folder / "x").iterdir()) == []


def test_a_kill_leaves_nothing_for_long(cache_folder: Path) -> None:
    begun = cache_folder / "begun"

    def make() -> None:
        with cache.locked("x"), cache.atomic_folder(cache_folder / "x" / "target") as folder:
            (folder / "half").touch()
            begun.touch()
            signal.pause()

    killed_in(make, begun)
    assert len(list((cache_folder / "x").iterdir())) == 1
    with cache.locked("x"), cache.atomic_folder(cache_folder / "x" / "target"):
        pass
    assert [path.name for path in (cache_folder / "x").rglob("*")] == ["target"]


def test_what_is_not_used_goes_when_its_like_is_made(cache_folder: Path) -> None:
    old, new, target, other = (f"a-{digit * 12}" for digit in "0123")
    kept = ("a-b-" + "0" * 12, "a-b", f".a-b-{'0' * 12}.1234")
    for name in (old, new, f".{other}.1234", target, *kept):
        (cache_folder / "x" / name).mkdir(parents=True)
    month_ago = time.time() - 30 * 24 * 3600
    for name in (old, new, *kept):
        os.utime(cache_folder / "x" / name, (month_ago, month_ago))
    cache.mark_used(cache_folder / "x" / new)
    (cache_folder / "x" / target / "half").touch()
    with cache.atomic_folder(cache_folder / "x" / target, siblings="a"):
        pass
    assert {path.name for path in (cache_folder / "x").iterdir()} == {new, target, *kept}
    assert list((cache_folder / "x" / target).iterdir()) == []


def test_the_second_maker_waits_for_the_lock(cache_folder: Path) -> None:
    """A second one waits, and says so; the kernel gives the lock back of who was killed."""
    begun, events = cache_folder / "begun", []

    def hold() -> None:
        with cache.locked("x"):
            begun.touch()
            signal.pause()

    process = _fork.Process(target=hold)
    process.start()
    assert process.pid
    while not begun.exists():
        assert process.is_alive()

    @contextmanager
    def waiting() -> Iterator[None]:
        events.append("begins")
        assert process.pid
        os.kill(process.pid, signal.SIGKILL)
        yield
        events.append("ends")

    with cache.locked("x", waiting=waiting):
        assert events == ["begins", "ends"]
    process.join()


def pyharness(word: str, **named: str) -> subprocess.CompletedProcess[str]:
    env = {key: value for key, value in os.environ.items() if key not in ("XDG_CACHE_HOME", *named)}
    return subprocess.run(
        [sys.executable, "-m", "pyharness", word],
        env=env | named,
        capture_output=True,
        text=True,
        check=False,
    )


A_FILE = __file__
REFUSED = "Permission denied" if os.geteuid() else "Operation not permitted"


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ({"PYHARNESS_CACHE": A_FILE}, f"{A_FILE} can't be used (File exists): make it a folder"),
        ({"PYHARNESS_CACHE": f"{A_FILE}/x"}, f"{A_FILE}/x can't be used (Not a directory)"),
        ({"PYHARNESS_CACHE": "", "HOME": A_FILE}, "can't be used (Not a directory)"),
        # Where not even root may make a folder.
        (
            {"PYHARNESS_CACHE": "", "HOME": "/sys"},
            f"can't be used ({REFUSED}): make it yours to write",
        ),
    ],
)
def test_a_cache_that_cannot_be_used(named: dict[str, str], said: str) -> None:
    """One sentence, and the status of a host that lacks something."""
    done = pyharness("list", **named)
    assert done.returncode == 3, done.stderr
    assert said in done.stderr
    assert "PYHARNESS_CACHE" in done.stderr
    assert len(done.stderr.splitlines()) == 1


# Root becomes that user by itself: user namespaces are forbidden in a chroot.
WITHOUT_A_HOME = """
import os
from pyharness.host import cache
from pyharness.errors import HostError
if os.geteuid() == 0:
    os.setuid(4242)
try:
    cache.folder()
except HostError as error:
    print(error)
"""


def test_a_user_without_a_home() -> None:
    """One that is in no list of users, as in a container."""
    become = [] if os.geteuid() == 0 else ["unshare", "--user", "--map-user=4242"]
    done = subprocess.run(
        [
            *become,
            *("env", "-u", "HOME", "-u", "PYHARNESS_CACHE", "-u", "XDG_CACHE_HOME"),
            *(sys.executable, "-c", WITHOUT_A_HOME),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    said = "this user has no home folder: name a folder for all in PYHARNESS_CACHE"
    assert done.stdout == f"{said}\n", done.stderr


@pytest.mark.parametrize("variable", ["PYHARNESS_CACHE", "PYHARNESS_RUN"])
def test_a_relative_path_is_refused(variable: str, tmp_path: Path) -> None:
    """It would be another cache in each folder."""
    done = pyharness("status", **{variable: "my cache"})
    assert done.returncode == 2
    wanted = shlex.quote(str(Path.cwd() / "my cache"))
    assert done.stderr == (
        f"pyharness: {variable}=my cache depends on the current folder: write {variable}={wanted}\n"
    )
    assert not Path("my cache").exists()


def test_a_tilde_that_no_shell_has_read_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYHARNESS_CACHE", "~/x")
    with pytest.raises(UsageError, match=f"write PYHARNESS_CACHE={Path.home()}/x"):
        cache.folder()
    monkeypatch.setenv("PYHARNESS_CACHE", "~nosuchuser/x")
    with pytest.raises(UsageError, match="write an absolute path"):
        cache.folder()


def test_a_control_character_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYHARNESS_RUN", f"{tmp_path}/a\nb")
    with pytest.raises(UsageError, match=r"has the character '\\n'"):
        cache.run_folder()


@pytest.mark.usefixtures("cache_folder")
def test_a_run_folder_that_cannot_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYHARNESS_RUN", A_FILE)
    with pytest.raises(HostError, match="make it a folder, or name other folders in PYHARNESS_C"):
        lifecycle.all_machines()


@pytest.mark.usefixtures("cache_folder")
def test_a_file_system_without_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_file: object, _operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("pyharness.host.cache.fcntl.flock", refuse)
    with pytest.raises(HostError, match="is on a file system without locks"), cache.locked("x"):
        pass


def test_an_error_that_is_not_of_the_file_system_stays() -> None:
    with pytest.raises(BrokenPipeError), cache.as_host_error():
        raise BrokenPipeError
