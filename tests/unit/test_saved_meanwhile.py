# SPDX-License-Identifier: GPL-2.0
"""What is saved during a build does not get into its result; the compilers are stand-ins."""

import io
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import IO, cast

import pytest

from pyharness.guest import build, compilers
from pyharness.guest.compilers import Compiler, InGuest, Made, OnHost, WithTree
from pyharness.guest.module_source import ModuleSource
from pyharness.host.bounded import Ran
from pyharness.machine.kernel_tree import KernelTree
from pyharness.machine.root_tree import RootTree
from pyharness.transport.ssh import Completed, Ssh

Patch = pytest.MonkeyPatch


def built_from(folder: Path) -> str:
    """What a compiler sees in a folder."""
    mode = (folder / "gen.sh").stat().st_mode & 0o777
    return f"{(folder / 'm.c').read_text(encoding='ascii')}, {mode:o}"


def in_guest(folder: Path, monkeypatch: Patch) -> Compiler:
    """The guest is a folder."""

    def run(
        _ssh: Ssh, command: str | list[str], *, seconds: float, stdin: bytes = b""
    ) -> Completed:
        if stdin:
            with tarfile.open(fileobj=io.BytesIO(stdin)) as tar:
                tar.extraction_filter = getattr(tarfile, "tar_filter", None)
                tar.extractall(folder)
        said = built_from(folder) if "setsid" in command else ""
        return Completed(command=str(command), status=0, stdout=said, stderr="")

    monkeypatch.setattr(Ssh, "run", run)
    return InGuest(Ssh("made-up", 22, host_key=None), 1, 60.0)


def on_host(folder: Path, _monkeypatch: Patch) -> Compiler:
    @contextmanager
    def work() -> Iterator[Path]:
        yield folder

    def run(_command: object, work: Path, *, seconds: float) -> Ran:
        return Ran(0, built_from(work / "copy"))

    return OnHost(cast("RootTree", SimpleNamespace(work=work, run=run)))


def with_tree(folder: Path, monkeypatch: Patch) -> Compiler:
    def run(command: Sequence[str], *, seconds: float) -> Ran:
        (where,) = (word.removeprefix("M=") for word in command if word.startswith("M="))
        return Ran(0, built_from(Path(where)))

    monkeypatch.setattr(compilers, "run_until", run)
    (folder / ".config").write_text("CONFIG_X86_64=y\n", encoding="ascii")
    return WithTree(KernelTree(folder))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "source"
    made.mkdir()
    for name, text in (("Kbuild", "obj-m := m.o\n"), ("m.c", "good"), ("gen.sh", "")):
        (made / name).write_text(text, encoding="ascii")
    (made / "gen.sh").chmod(0o755)
    return made


@pytest.mark.parametrize("make", [in_guest, on_host, with_tree])
def test_what_was_hashed_is_built(
    folder: Path, tmp_path: Path, monkeypatch: Patch, make: Callable[[Path, Patch], Compiler]
) -> None:
    (tmp_path / "build").mkdir()
    compiler = make(tmp_path / "build", monkeypatch)
    source = ModuleSource(folder)
    assert source.digest
    (folder / "m.c").write_text("broken", encoding="ascii")
    (folder / "gen.sh").unlink()
    assert compiler.make(source, "copy", (), {}).output == "good, 755"


class Copying:
    """A compiler whose result has the source."""

    def __init__(self, folder: Path) -> None:
        """Build in an empty folder."""
        self._folder = folder

    def folder(self, name: str) -> str:
        return name

    def make(
        self, source: ModuleSource, name: str, _flags: object, more: Mapping[str, bytes]
    ) -> Made:
        compilers._copy(source, self._folder / name, more)
        return Made(0, "", {"m.ko": (self._folder / name / "m.c").read_bytes()}, "", {})


def test_the_cache_has_what_was_hashed(folder: Path, tmp_path: Path, monkeypatch: Patch) -> None:
    """A change that was saved during a build, and undone, is not in what the cache returns."""
    monkeypatch.setenv("PYHARNESS_CACHE", str(tmp_path / "cache"))
    source = ModuleSource(folder)
    assert not build.find(source, "kernel")
    (folder / "m.c").write_text("broken", encoding="ascii")
    built = build.build(source, "kernel", cast("Compiler", Copying(tmp_path / "build")))
    assert built.ko.read_bytes() == b"good"
    assert not build.find(ModuleSource(folder), "kernel")


def test_a_file_that_is_truncated_meanwhile_is_sent_whole(
    folder: Path, tmp_path: Path, monkeypatch: Patch
) -> None:
    """As an editor truncates it to write it anew."""
    real = tarfile.TarFile.addfile

    def addfile(tar: tarfile.TarFile, info: tarfile.TarInfo, data: IO[bytes]) -> None:
        if info.name == "m.c":
            (folder / "m.c").write_bytes(b"")
        real(tar, info, data)

    monkeypatch.setattr(tarfile.TarFile, "addfile", addfile)
    compiler = in_guest(tmp_path / "build", monkeypatch)
    assert compiler.make(ModuleSource(folder), "copy", (), {}).output == "good, 755"
