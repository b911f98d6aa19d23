# SPDX-License-Identifier: GPL-2.0
"""The module is found in what is handed in, however it was packed; needs no guest."""

import io
import json
import os
import stat
import subprocess
import sys
import tarfile
import time
import zipfile
from pathlib import Path

import pytest

from pyharness.interceptor.rules import folder_archive, submission

PROGRAM = Path(submission.__file__).parents[1] / "inside" / "unpack.py"
FILL = Path(submission.__file__).parents[1] / "starter"
CODE = '#include "interceptor.h"\n'
KBUILD = "obj-m := interceptor.o\n"
MAC = "\0\5\26\7"  # how the file begins in which macOS keeps what a file has besides its content


def as_tar(path: Path, files: dict[str, str], folders: dict[str, int] | None = None) -> Path:
    with tarfile.open(path.with_suffix(".tar"), "w") as archive:
        for name, mode in (folders or {}).items():
            member = tarfile.TarInfo(name)
            member.type, member.mode = tarfile.DIRTYPE, mode
            archive.addfile(member)
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(text.encode()), 0o444
            archive.addfile(member, io.BytesIO(text.encode()))
    return path.with_suffix(".tar")


def as_zip(path: Path, files: dict[str, str]) -> Path:
    with zipfile.ZipFile(path.with_suffix(".zip"), "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return path.with_suffix(".zip")


def unpacked(archive: Path) -> dict[str, str]:
    """Unpack without root's right to write into any folder."""
    top = archive.parent / "src"
    top.mkdir()
    words = [str(PROGRAM), str(archive), str(top), str(FILL), *folder_archive.NO_SOURCE]
    line = [sys.executable, "-I", *words]
    if os.geteuid() == 0:
        line = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", *line]
    done = subprocess.run(line, capture_output=True, text=True, check=True)
    found: dict[str, str] = json.loads(done.stdout)
    if "folder" in found:
        found["folder"] = str(Path(found["folder"]).relative_to(top))
    return found


# What is handed in, and the folder of the module in it.
HANDED_IN = {
    "macOS has added files": ({"interceptor.c": CODE, "._interceptor.c": MAC}, "."),
    "macOS has added files in a folder": (
        {"a2/interceptor.c": CODE, "a2/._interceptor.c": MAC, "__MACOSX/a2/Makefile": MAC}, "a2",
    ),
    "macOS has added the first file": ({"._a.c": MAC, "x/interceptor.c": CODE}, "x"),
    "the testers of the handout": (
        {"interceptor.c": CODE, "test_full.c": "", "test_intercept.c": ""}, ".",
    ),
    "tests with a makefile": (
        {"interceptor.c": CODE, "interceptor.h": "", "tests/Makefile": "all:\n\tcc t.c\n"}, ".",
    ),
    "tests, without a header": (
        {"interceptor.c": CODE, "tests/Makefile": "all:\n", "tests/t.c": ""}, ".",
    ),
    "a makefile at the top for all": (
        {"Makefile": "all:\n\t$(MAKE) -C a2\n", "a2/Kbuild": KBUILD, "a2/interceptor.c": CODE},
        "a2",
    ),
    "an older version": (
        {"old/v1/Makefile": KBUILD, "old/v1/interceptor.c": CODE,
         "solution/Makefile": KBUILD, "solution/interceptor.c": CODE}, "solution",
    ),
    "a name with an underscore": ({"_a2/Makefile": KBUILD, "_a2/interceptor.c": CODE}, "_a2"),
    "another name of the source": ({"a2/mine.c": CODE}, "a2"),
}  # fmt: skip


@pytest.mark.parametrize("name", HANDED_IN)
@pytest.mark.parametrize("pack", [as_tar, as_zip])
def test_the_module_is_found(tmp_path: Path, name: str, pack: object) -> None:
    files, folder = HANDED_IN[name]
    assert callable(pack)
    found = unpacked(pack(tmp_path / "it", files))
    assert found.get("folder") == folder, found
    where = tmp_path / "src" / folder
    built = [where / file for file in ("Kbuild", "Makefile")]
    texts = [path.read_text(encoding="utf-8") for path in built if path.exists()]
    source = "mine" if "mine.c" in str(files) else "interceptor"
    assert any(f"obj-m := {source}.o" in text for text in texts)


@pytest.mark.parametrize("pack", [as_tar, as_zip])
def test_what_an_older_build_has_left_is_not_used(tmp_path: Path, pack: object) -> None:
    """It could be taken for what is built here."""
    left = ("interceptor.ko", "interceptor.o", ".interceptor.o.cmd", "backup/interceptor.ko")
    files = {"interceptor.c": CODE, "Kbuild": KBUILD, ".git/config": "", **dict.fromkeys(left, "")}
    assert callable(pack)
    assert unpacked(pack(tmp_path / "it", files)).get("folder") == "."
    found = {path.name for path in (tmp_path / "src").rglob("*") if path.is_file()}
    assert found == {"interceptor.c", "interceptor.h", "Kbuild"}


def test_no_file_is_from_the_future(tmp_path: Path) -> None:
    """Or make would warn of that."""
    archive = tmp_path / "it.tar"
    with tarfile.open(archive, "w") as made:
        member = tarfile.TarInfo("interceptor.c")
        member.mtime = time.time() + 10_000
        made.addfile(member)
    assert unpacked(archive).get("folder") == "."
    assert (tmp_path / "src" / "interceptor.c").stat().st_mtime <= time.time()


@pytest.mark.parametrize("name", ["interceptor (1).c", "modül.c", "-o.c"])
def test_a_source_can_have_any_name(tmp_path: Path, name: str) -> None:
    """Such as a browser gives to what it downloads again. make can't build each."""
    assert unpacked(as_tar(tmp_path / "it", {name: CODE})).get("folder") == "."
    assert (tmp_path / "src" / "interceptor.c").read_text(encoding="ascii") == CODE
    assert (tmp_path / "src" / "Kbuild").read_text(encoding="ascii") == KBUILD


def test_backslashes_separate_folders(tmp_path: Path) -> None:
    """As some programs of Windows write them."""
    files = {"a2\\interceptor.c": CODE, "a2\\Makefile": KBUILD, "a2\\tests\\t.c": ""}
    archive = as_zip(tmp_path / "it", files)
    assert unpacked(archive).get("folder") == "a2"
    assert (tmp_path / "src" / "a2" / "tests" / "t.c").is_file()


@pytest.mark.parametrize("name", ["..\\..\\evil.c", "\\evil.c", "a\\..\\..\\evil.c"])
def test_backslashes_lead_to_no_other_folder(tmp_path: Path, name: str) -> None:
    unpacked(as_zip(tmp_path / "it", {name: CODE, "interceptor.c": CODE}))
    assert not list(tmp_path.glob("evil.c"))
    assert not Path("/evil.c").exists()


@pytest.mark.parametrize("mode", [0o555, 0o000, 0o644])
def test_a_folder_that_was_packed_as_read_only_can_be_built_in(tmp_path: Path, mode: int) -> None:
    files = {"a2/interceptor.c": CODE, "a2/sub/x.h": ""}
    archive = as_tar(tmp_path / "it", files, {"a2": mode, "a2/sub": mode})
    assert unpacked(archive).get("folder") == "a2"
    found = [tmp_path / "src" / "a2", *(tmp_path / "src" / "a2").rglob("*")]
    assert len(found) >= 5
    for path in found:
        needed = stat.S_IRWXU if path.is_dir() else stat.S_IRUSR | stat.S_IWUSR
        assert path.stat().st_mode & needed == needed, path
