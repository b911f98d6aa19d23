# SPDX-License-Identifier: GPL-2.0
"""Runs in the guest, as an ordinary user: unpacks what a student has handed in.

    python3 unpack.py ARCHIVE FOLDER FILL PATTERN...

FILL is a folder with the header that a module needs besides its ``.c`` files, for a submission
that has no more than those. The patterns are of names of files and folders that are no source.
Prints a JSON object: ``folder``, the module's folder, and ``defines``, the texts of its headers
and sources; or ``problem``, a sentence, if there is no module.
"""

import fnmatch
import json
import os
import re
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

MAKEFILES = ("Kbuild", "Makefile")
HEADER = "interceptor.h"
SOURCE = "interceptor.c"
MAC = "__MACOSX"  # where macOS keeps what files have besides their content
MOST_LEVELS = 50  # of folders
CODE = (".c", ".h")
TEXTS = (*CODE, ".mk")
MOST_TEXT = 1 << 20
PLAIN = re.compile(r"[\w/.+-]+", re.ASCII)
PLAIN_NAME = re.compile(r"\w[\w.+-]*", re.ASCII)
BOM = b"\xef\xbb\xbf"


def remove_products(top: Path, patterns: "list[str]") -> None:
    """Remove what is no source: an older build's module is not the one that is built now."""
    for name, folders, files in os.walk(top):
        for entry in (*folders, *files):
            if any(fnmatch.fnmatchcase(entry, pattern) for pattern in patterns):
                path = Path(name, entry)
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink()


def walk(top: Path) -> "Iterator[Path]":
    """Yield the folder and the folders below it, except those that no student has made."""
    for name, folders, _ in os.walk(top):
        folder = Path(name)
        deep = len(folder.relative_to(top).parts) >= MOST_LEVELS
        folders[:] = [] if deep else sorted(n for n in folders if n[0] != "." and n != MAC)
        yield folder


def make_accessible(top: Path) -> None:
    """Let the user read and write everything; an archive may have other permissions.

    Nor does it decide what is newer than what: make warns of files from the future.
    """
    top.chmod(0o755)
    for name, folders, files in os.walk(top):
        for path in (Path(name, entry) for entry in (*folders, *files)):
            mode = path.lstat().st_mode
            if stat.S_ISDIR(mode):
                path.chmod(0o755)
            elif stat.S_ISREG(mode):
                path.chmod(stat.S_IMODE(mode) | 0o644)
                os.utime(path)


def use_slashes(top: Path) -> None:
    """Make folders of the backslashes in names, which some programs of Windows write into a zip."""
    for path in [path for path in top.iterdir() if "\\" in path.name]:
        parts = [part for part in path.name.split("\\") if part]
        if not parts or ".." in parts:
            continue
        target = top.joinpath(*parts)
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.name.endswith("\\"):
            target.mkdir(exist_ok=True)
        else:
            path.replace(target)


def sources(folder: Path) -> "list[Path]":
    """Return the C files of a folder; those of macOS that begin with a dot are none."""
    found = (path for path in folder.glob("*.c") if path.name[0] != "." and path.is_file())
    return sorted(found)


def makefiles(folder: Path) -> "list[Path]":
    """Return the files that Kbuild may read in a folder."""
    return [folder / name for name in MAKEFILES if (folder / name).is_file()]


def builds_module(folder: Path) -> bool:
    """Return whether a makefile in a folder builds a module."""
    for path in makefiles(folder):
        with path.open("rb") as file:
            if b"obj-m" in file.read(MOST_TEXT):
                return True
    return False


def module_folder(top: Path) -> "Path | None":
    """Return the folder of the module; None if there is none.

    It is the one nearest to the top whose makefile builds a module, or that has the source of the
    handout's name; or else any C file; or else a makefile.
    """
    found = []
    for folder in walk(top):
        named, builds = (folder / SOURCE).is_file(), builds_module(folder)
        if named or builds:
            rank = 0
        elif sources(folder):
            rank = 1
        elif makefiles(folder):
            rank = 2
        else:
            continue
        found.append((rank, len(folder.parts), not builds, folder))
    return min(found)[-1] if found else None


def to_unix(path: Path) -> None:
    """Remove the carriage returns and the byte order mark that other systems' editors write."""
    data = path.read_bytes()
    unix = data[len(BOM) :] if data.startswith(BOM) else data
    unix = unix.replace(b"\r\n", b"\n")
    if unix != data:
        path.chmod(0o600)
        path.write_bytes(unix)


def only_source(folder: Path) -> "Path | None":
    """Return the C file that a module without a makefile is built from; None if there is none."""
    found = sources(folder)
    if named := [path for path in found if path.name == SOURCE]:
        found = named  # beside the testers of the handout
    return found[0] if len(found) == 1 else None


def fill(folder: Path, more: Path) -> str:
    """Add the files that are missing; return what is wrong with the folder, if anything is."""
    if not builds_module(folder):
        source = only_source(folder)
        if not source:
            return (
                f"there is no Kbuild or Makefile with obj-m, no {SOURCE}, and not exactly one"
                " .c file"
            )
        if not PLAIN_NAME.fullmatch(source.name):  # make can't build "interceptor (1).c"
            source = source.replace(folder / SOURCE)
        (folder / "Kbuild").write_text(f"obj-m := {source.stem}.o\n")
    if not (folder / HEADER).exists():
        (folder / HEADER).unlink(missing_ok=True)  # a link to somewhere else
        shutil.copy(more / HEADER, folder)
    return ""


def main(archive: str, top: str, more: str, *no_source: str) -> "dict[str, str]":
    """Unpack, and return what is to be printed."""
    try:
        shutil.unpack_archive(archive, top)
    except Exception as error:  # whatever somebody has handed in
        return {"problem": f"the archive can't be unpacked: {error}"}
    make_accessible(Path(top))
    use_slashes(Path(top))
    remove_products(Path(top), [*no_source])
    folder = module_folder(Path(top))
    if not folder:
        return {"problem": "there is neither a Kbuild, nor a Makefile, nor a .c file in it"}
    if not PLAIN.fullmatch(str(folder)):  # make can't enter it
        folder = Path(shutil.move(str(folder), f"{tempfile.mkdtemp(dir=top)}/module"))
    texts = [
        path
        for path in sorted(folder.iterdir())
        if path.is_file()
        and not path.is_symlink()
        and path.name[0] != "."
        and (path.name in MAKEFILES or path.suffix in TEXTS)
    ]
    for path in texts:
        to_unix(path)
    code = [path for path in texts if path.suffix in CODE]
    headers_last = sorted(code, key=lambda path: path.suffix == ".h")
    defines = "\n".join(path.read_text(errors="replace") for path in headers_last)
    if problem := fill(folder, Path(more)):
        return {"problem": problem}
    return {"folder": str(folder), "defines": defines[-MOST_TEXT:]}


if __name__ == "__main__":
    try:
        said = main(*sys.argv[1:])
    except OSError as error:
        said = {"problem": f"{error.filename} can't be read: {error.strerror}"}
    except Exception as error:  # whatever somebody has handed in
        said = {"problem": f"it can't be used: {error}"}
    print(json.dumps(said))
