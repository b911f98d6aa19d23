# SPDX-License-Identifier: GPL-2.0
"""What this user may do on this host: make images, and use KVM. Found out by trying."""

import getpass
import grp
import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pyharness.host import environment, requires

_SECONDS = 30.0


@dataclass(frozen=True)
class Obstacle:
    """Something that a user may not do.

    Attributes:
        what: the fact, as half a sentence.
        fix: what to do, as half a sentence.
    """

    what: str
    fix: str

    def __str__(self) -> str:
        return f"{self.what}: {self.fix}"


def to_make_images() -> Obstacle | None:
    """What keeps this user from making images; None if nothing does.

    Root needs a mount namespace; any other user needs a user namespace with many ids, which
    mmdebstrap itself tries to make here.

    Raises:
        HostError: a program is missing.
    """
    if os.geteuid() == 0:
        requires("unshare")
        if _works("unshare", "--mount", "--propagation", "unchanged", "true")[0]:
            return None
        return Obstacle(
            "root may not mount file systems here",
            "start the container with --privileged",
        )
    requires("mmdebstrap", "newuidmap")
    works, printed = _works("mmdebstrap", "--unshare-helper", "true")
    if works:
        return None
    user = _user()
    return why_no_user_namespace(user, os.getuid(), read=_read, printed=printed)


def why_no_user_namespace(
    user: str, uid: int, *, read: Callable[[str], str], printed: str
) -> Obstacle:
    """Why a user can't make a user namespace with many ids. Pure.

    Args:
        user: the user's name.
        uid: the user's number.
        read: gives a file's text, empty if there is no such file.
        printed: what the attempt printed.
    """
    for name in ("/etc/subuid", "/etc/subgid"):
        owners = {line.split(":")[0] for line in read(name).splitlines()}
        if not owners & {user, str(uid)}:
            return Obstacle(
                f"{user} has no subordinate ids in {name}, which making an image needs",
                f"sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {user}",
            )
    for name, forbids, allows in (
        ("kernel/apparmor_restrict_unprivileged_userns", "1", "0"),
        ("kernel/unprivileged_userns_clone", "0", "1"),
        ("user/max_user_namespaces", "0", "10000"),
    ):
        if read(f"/proc/sys/{name}").strip() == forbids:
            setting = name.replace("/", ".")
            return Obstacle(
                f"{setting}={forbids} forbids user namespaces, which making an image needs",
                f"sudo sysctl {setting}={allows}, or make the image as root",
            )
    reason = printed.strip().splitlines()[-1:] or ["no reason given"]
    return Obstacle(
        f"user namespaces, which making an image needs, are forbidden here ({reason[0]})",
        "make the image as root, or start the container with --privileged",
    )


def to_use(device: Path) -> Obstacle | None:
    """What keeps this user from using a device such as ``/dev/kvm``; None if nothing does."""
    if os.access(device, os.R_OK | os.W_OK):
        return None
    status, user = device.stat(), _user()
    group = next((g for g in grp.getgrall() if g.gr_gid == status.st_gid), None)
    return why_no_access(
        str(device),
        user=user,
        group=group.gr_name if group else str(status.st_gid),
        group_may=status.st_mode & 0o060 == 0o060 and status.st_gid != 0,
        is_member=bool(group and user in group.gr_mem),
    )


def why_no_access(
    device: str, *, user: str, group: str, group_may: bool, is_member: bool
) -> Obstacle:
    """Why a user can't use a device. Pure.

    Args:
        device: its path.
        user: the user's name.
        group: the device's group.
        group_may: whether that group may read and write the device.
        is_member: whether the user is in that group by now, perhaps since after logging in.
    """
    what = f"{user} may not use {device}"
    if not group_may:
        return Obstacle(what, f"sudo setfacl --modify user:{user}:rw {device}")
    if is_member:
        return Obstacle(f"{what} in this session", f"log in again, as a member of group {group}")
    return Obstacle(what, f"sudo usermod --append --groups {group} {user}, then log in again")


def _works(*command: str) -> tuple[bool, str]:
    """Whether a command succeeds, and what it prints."""
    done = subprocess.run(
        command,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=_SECONDS,
        check=False,
    )
    return done.returncode == 0, done.stdout


def _read(name: str) -> str:
    try:
        return Path(name).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # no such user in /etc/passwd: a container's arbitrary number
        return str(os.getuid())
