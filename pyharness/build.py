# SPDX-License-Identifier: GPL-2.0
"""A module built in the guest, over SSH, with the guest's own headers.

What was built is kept in the cache, by a hash of the sources and the guest it
was built in: the same module is built once.
"""

import hashlib
import json
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from pyharness import paths
from pyharness.errors import CheckFailed, UsageError
from pyharness.ssh import Ssh, source_files

# Not of the module: that the guest's compiler or headers lack something.
_NO_WARNING = re.compile(r"Skipping BTF generation|the compiler differs from the one")
_WARNING = re.compile(r"\bwarning:|\bWARNING:")
_FLAGS = ("W=1", "C=1", "KCFLAGS=-g")


def module_name(ko: Path) -> str:
    """What the kernel calls the module of that file."""
    return ko.stem.replace("-", "_")


@dataclass(frozen=True, kw_only=True)
class Built:
    """A built module.

    Attributes:
        ko: the module's file, on the host.
        log: what make printed.
        cached: it was built by an earlier run.
    """

    ko: Path
    log: str
    cached: bool

    @property
    def name(self) -> str:
        """What the kernel calls it."""
        return module_name(self.ko)

    @property
    def warnings(self) -> list[str]:
        """What the compiler, sparse and modpost warned of."""
        return [
            line
            for line in self.log.splitlines()
            if _WARNING.search(line) and not _NO_WARNING.search(line)
        ]


def digest(folder: Path, against: str) -> str:
    """A hash of a module's sources and of what it is built against.

    Raises:
        UsageError: the folder has no module.
    """
    if not any((folder / name).is_file() for name in ("Kbuild", "Makefile")):
        raise UsageError(f"{folder} has neither Kbuild nor Makefile: name a module's folder")
    made_of = hashlib.sha256(f"{against} {_FLAGS}\n".encode())
    for path in source_files(folder):
        made_of.update(f"{path.relative_to(folder)}\n".encode())
        made_of.update(path.read_bytes() + b"\n")
    return made_of.hexdigest()[:16]


def find(folder: Path, against: str) -> Built | None:
    """The module, if it was built already."""
    return _read(_kept(digest(folder, against)), cached=True)


def build(folder: Path, against: str, ssh: Ssh, *, jobs: int, seconds: float) -> Built:
    """Build the module in a folder of the host, in the guest.

    Args:
        folder: with a Kbuild or Makefile.
        against: names the guest's kernel and headers.
        ssh: the way into the guest.
        jobs: how many compilers at once.
        seconds: how long it may take.

    Raises:
        CheckFailed: it does not build; the message is the compiler's.
    """
    name = digest(folder, against)
    where = f"/root/build/{name}"
    ssh.put_folder(folder, where, seconds=seconds)
    made = ssh.run(
        f"make -C {where} -j{jobs} {shlex.join(_FLAGS)} 2>&1 && ls {where}/*.ko", seconds=seconds
    )
    if made.status:
        raise CheckFailed(f"{folder} does not build in the guest:\n{made.stdout.strip()}")
    *log, ko = made.stdout.splitlines()
    with paths.locked(f"module-{name}"):
        if not (built := _read(_kept(name), cached=False)):
            with paths.made_whole(_kept(name)) as making:
                (making / Path(ko).name).write_bytes(ssh.get(ko, seconds=seconds))
                (making / "build.json").write_text(json.dumps({"log": "\n".join(log)}))
            built = _read(_kept(name), cached=False)
    assert built is not None
    return built


def _kept(name: str) -> Path:
    return paths.cache() / "modules" / name


def _read(kept: Path, *, cached: bool) -> Built | None:
    try:
        log = json.loads((kept / "build.json").read_text(encoding="utf-8"))["log"]
        (ko,) = kept.glob("*.ko")
    except (FileNotFoundError, ValueError):
        return None
    return Built(ko=ko, log=log, cached=cached)
