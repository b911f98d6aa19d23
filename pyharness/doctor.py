# SPDX-License-Identifier: GPL-2.0
"""What this host can do, and the mend for each lack."""

import getpass
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pyharness import accel, image, paths
from pyharness.guests import GuestSpec
from pyharness.host import package_of, which

_TOOLS = {
    "mmdebstrap": "makes images",
    "arch-test": "makes images for other architectures",
    "mke2fs": "makes images",
    "mount": "makes images",
    "unshare": "makes images",
    "setpriv": "ends QEMU with whoever started it",
    "qemu-img": "makes disks",
    "ssh-keygen": "makes this user's key",
    "ssh": "pyharness ssh",
}


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        what: it is about.
        good: whether it is as it should be.
        said: what was found.
        mend: what to do if it isn't good, or to have it better; may be empty.
    """

    what: str
    good: bool
    said: str
    mend: str = ""


def examine(spec: GuestSpec) -> Iterator[Finding]:
    """Look at all that a guest needs of this host."""
    version = sys.version.split()[0]
    recent = sys.version_info >= (3, 11)
    mend = "" if recent else "Python 3.11 or later"
    yield Finding(what="python", good=recent, said=version, mend=mend)
    for program, purpose in {spec.qemu: "runs the guest", **_TOOLS}.items():
        found = which(program)
        mend = "" if found else f"apt-get install {package_of(program)}"
        yield Finding(
            what=program, good=bool(found), said=found or f"missing ({purpose})", mend=mend
        )
    if os.geteuid():
        yield _unprivileged()
    free = shutil.disk_usage(paths.cache()).free
    yield Finding(
        what="cache",
        good=free >= image.ROOM,
        said=f"{paths.cache()}, {free >> 30} GiB free",
        mend="" if free >= image.ROOM else "make room, or name another folder in PYHARNESS_CACHE",
    )
    made = image.find(spec) if which("ssh-keygen") else None
    yield Finding(
        what="image",
        good=True,
        said=f"kernel {made.release} ({made.version})" if made else "not made yet",
        mend="" if made else "pyharness up makes it, in a minute or two",
    )
    yield _accelerator(spec, made)


def _unprivileged() -> Finding:
    user = getpass.getuser()
    subuid = Path("/etc/subuid")
    listed = subuid.exists() and any(
        line.startswith((f"{user}:", f"{os.getuid()}:")) for line in subuid.read_text().splitlines()
    )
    good = listed and bool(which("newuidmap"))
    return Finding(
        what="user namespaces",
        good=good,
        said="ready" if good else f"{user} can't make images without root",
        mend=""
        if good
        else f"apt-get install uidmap; usermod --add-subuids 100000-165535"
        f" --add-subgids 100000-165535 {user}",
    )


def _accelerator(spec: GuestSpec, made: image.Image | None) -> Finding:
    known = accel.quick_answer(spec)
    if known is None and made and which(spec.qemu):
        known = accel.choose(spec, made)
    if known is None:
        return Finding(
            what="accelerator",
            good=True,
            said="KVM opens; whether it works shows when a kernel is there to boot",
        )
    return Finding(what="accelerator", good=True, said=f"{known.name}: {known.reason}")
