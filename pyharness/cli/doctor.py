# SPDX-License-Identifier: GPL-2.0
"""Checks that this host has everything that guests need, and finds a fix for what it lacks."""

import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pyharness.errors import HostError
from pyharness.host import cache, packages, privileges
from pyharness.host.programs import which
from pyharness.machine import accelerator, image, kvm_probe
from pyharness.machine.guest_specs import GuestSpec

# Bytes that a guest needs on the disk beside its image: its saved state, and what runs write.
_ROOM = 1 << 30


@dataclass(frozen=True, kw_only=True)
class Finding:
    """The result of one check.

    Attributes:
        what: the subject of the check, such as a program.
        good: whether it is as it should be.
        result: what the check found.
        fix: what to do if it is not good, or to improve it; may be empty.
    """

    what: str
    good: bool
    result: str
    fix: str = ""


def examine(spec: GuestSpec) -> Iterator[Finding]:
    """Check everything that a guest needs on this host, and yield a finding for each."""
    version = sys.version.split()[0]
    recent = sys.version_info >= (3, 11)
    fix = "" if recent else "Python 3.11 or later"
    yield Finding(what="python", good=recent, result=version, fix=fix)
    lacking = []
    for need in packages.for_guest(spec.architecture):
        path = Path(need.what) if need.what.startswith("/") else None
        found = which(need.what) if path is None else str(path) if path.exists() else None
        if not found:
            lacking.append(need.what)
        yield Finding(
            what=need.what if path is None else path.stem,
            good=bool(found),
            result=found or f"missing ({need.purpose})",
            fix="" if found else packages.advice([need.what]),
        )
    if not lacking:
        yield _permission()
    made, unreadable = None, ""
    try:
        made = image.find(spec) if which("ssh-keygen") else None
    except HostError as error:
        unreadable = str(error)
    yield _space(made)
    yield Finding(
        what="image",
        good=not unreadable,
        result=f"kernel {made.release} ({made.version})" if made else unreadable or "not made yet",
        fix=""
        if made or unreadable
        else f"pyharness up {spec.name} makes it, in three to six minutes",
    )
    yield _accelerator(spec, made)


def _permission() -> Finding:
    """Check whether this user can make images, by trying it."""
    obstacle = privileges.to_make_images()
    return Finding(
        what="permission",
        good=obstacle is None,
        result=obstacle.what if obstacle else "this user can make images",
        fix=obstacle.fix if obstacle else "",
    )


def _space(made: image.Image | None) -> Finding:
    """Check whether the cache's disk has room for what is still to be made."""
    free, room = shutil.disk_usage(cache.folder()).free, _ROOM if made else image.ROOM
    good = free >= room
    return Finding(
        what="cache",
        good=good,
        result=f"{cache.folder()}, {free >> 20} MiB free",
        fix=""
        if good
        else f"make room: {room >> 20} MiB are needed; or name another folder in PYHARNESS_CACHE",
    )


def _accelerator(spec: GuestSpec, made: image.Image | None) -> Finding:
    known = accelerator.known_accelerator(spec)
    if known is None and made and which(spec.qemu):
        known = kvm_probe.choose(spec, made.kernel)
    if known is None:
        return Finding(
            what="accelerator",
            good=True,
            result="/dev/kvm can be opened; the first boot shows whether KVM works",
        )
    return Finding(what="accelerator", good=True, result=f"{known.name}: {known.reason}")
