# SPDX-License-Identifier: GPL-2.0
"""Runs in the guest, as an ordinary user: unpacks what a student has handed in.

    python3 unpack.py ARCHIVE FOLDER FILL

FILL is a folder with the header that a module needs besides its ``.c`` files, for a submission
that has no more than those. Prints a JSON object: ``folder``, the module's folder, and
``defines``, the texts of its headers and sources; or ``problem``, a sentence, if there is no
module.
"""

import json
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

MAKEFILES = ("Kbuild", "Makefile")
HEADER = "interceptor.h"
TEXTS = (".c", ".h", ".mk")
MOST_TEXT = 1 << 20
PLAIN = re.compile(r"[\w/.+-]+", re.ASCII)
BOM = b"\xef\xbb\xbf"


def module_folder(top: Path) -> "Path | None":
    """Return the folder nearest to the top that has a makefile, or else one with C files."""
    with_sources = None
    for name, folders, files in os.walk(top):
        folders[:] = sorted(name for name in folders if name[0] not in "._")
        if any(makefile in files for makefile in MAKEFILES):
            return Path(name)
        if not with_sources and any(file.endswith(".c") for file in files):
            with_sources = Path(name)
    return with_sources


def to_unix(path: Path) -> None:
    """Remove the carriage returns and the byte order mark that other systems' editors write."""
    data = path.read_bytes()
    unix = data[len(BOM) :] if data.startswith(BOM) else data
    unix = unix.replace(b"\r\n", b"\n")
    if unix != data:
        path.chmod(0o600)
        path.write_bytes(unix)


def fill(folder: Path, more: Path) -> str:
    """Add the files that are missing; return what is wrong with the folder, if anything is."""
    found = [folder / name for name in MAKEFILES if (folder / name).is_file()]
    if not any("obj-m" in path.read_text(errors="replace") for path in found):
        sources = sorted(folder.glob("*.c"))
        if len(sources) != 1:
            return "there is no Kbuild or Makefile with obj-m, and not exactly one .c file"
        (folder / "Kbuild").write_text(f"obj-m := {sources[0].stem}.o\n")
    if not (folder / HEADER).exists():
        (folder / HEADER).unlink(missing_ok=True)  # a link to somewhere else
        shutil.copy(more / HEADER, folder)
    return ""


def main(archive: str, top: str, more: str) -> "dict[str, str]":
    """Unpack, and return what is to be printed."""
    try:
        shutil.unpack_archive(archive, top)
    except Exception as error:  # whatever somebody has handed in
        return {"problem": f"the archive can't be unpacked: {error}"}
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
        and (path.name in MAKEFILES or path.suffix in TEXTS)
    ]
    for path in texts:
        to_unix(path)
    if problem := fill(folder, Path(more)):
        return {"problem": problem}
    headers_last = sorted(texts, key=lambda path: path.suffix == ".h")
    defines = "\n".join(path.read_text(errors="replace") for path in headers_last)
    return {"folder": str(folder), "defines": defines[-MOST_TEXT:]}


if __name__ == "__main__":
    try:
        said = main(*sys.argv[1:])
    except OSError as error:
        said = {"problem": f"{error.filename} can't be read: {error.strerror}"}
    except Exception as error:  # whatever somebody has handed in
        said = {"problem": f"it can't be used: {error}"}
    print(json.dumps(said))
