# SPDX-License-Identifier: GPL-2.0
"""Find out, by trying, what this user may do on this host: make images, and use KVM."""

import grp
import os
import pwd
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pyharness.host.programs import environment, requires

# The time limit of an attempt, which normally takes a moment (s).
_SECONDS = 30.0
# The space that the files of an image need while it is made (bytes).
_TREE_ROOM = 3 << 29


@dataclass(frozen=True)
class Obstacle:
    """Something that the user may not do.

    Attributes:
        what: the fact, as half a sentence.
        fix: what to do about it, as half a sentence.
    """

    what: str
    fix: str

    def __str__(self) -> str:
        return f"{self.what}: {self.fix}"


def to_make_images() -> Obstacle | None:
    """What keeps this user from making images; None if nothing does.

    Root needs a mount namespace. Any other user needs a user namespace with many ids, which is
    tried with mmdebstrap's own helper, and a folder for temporary files that allows programs.

    Raises:
        HostError: a program is not installed.
    """
    if os.geteuid() == 0:
        requires("unshare")
        if _works("unshare", "--mount", "--propagation", "unchanged", "true")[0]:
            return None
        return Obstacle(
            "root may not mount file systems here",
            "start the container with --privileged",
        )
    user = user_name()
    if user is None:
        return Obstacle(
            f"user {os.getuid()} has no name in /etc/passwd, which making an image needs",
            "work as another user",
        )
    requires("mmdebstrap", "newuidmap")
    works, printed = _works("mmdebstrap", "--unshare-helper", "true")
    if not works:
        return why_no_user_namespace(user, os.getuid(), read=_read, printed=printed)
    folder = temporary_folder()
    return why_no_place(
        folder,
        free=shutil.disk_usage(folder).free,
        takes_programs=not os.statvfs(folder).f_flag & os.ST_NOEXEC,
    )


def temporary_folder() -> Path:
    """The folder for temporary files that need not be in the cache.

    It is ``TMPDIR`` if that is an absolute path of letters, digits, ``.``, ``_``, ``-`` and
    ``/``, else ``/tmp``: apt and dpkg can't handle other characters.
    """
    named = os.environ.get("TMPDIR", "")
    return Path(named if re.fullmatch(r"/[\w./-]+", named, re.ASCII) else "/tmp")


def why_no_place(folder: Path, *, free: int, takes_programs: bool) -> Obstacle | None:
    """Why the files of an image can't be created in a folder; None if they can. Pure.

    Args:
        folder: the folder.
        free: the free space on its disk, in bytes.
        takes_programs: whether programs in it can be run: it is not mounted ``noexec``.
    """
    fix = "name another folder in TMPDIR, such as TMPDIR=/var/tmp"
    if not takes_programs:
        return Obstacle(f"programs in {folder} can't be run (noexec), which an image needs", fix)
    if free < _TREE_ROOM:
        return Obstacle(
            f"{folder} has {free >> 20} MiB free, and an image needs {_TREE_ROOM >> 20} there",
            fix,
        )
    return None


def why_no_user_namespace(
    user: str, uid: int, *, read: Callable[[str], str], printed: str
) -> Obstacle:
    """Why a user can't make a user namespace with many ids. Pure, apart from ``read``.

    Args:
        user: the user's name.
        uid: the user's number.
        read: returns a file's text, empty if the file can't be read.
        printed: what the attempt printed.
    """
    for name in ("/etc/subuid", "/etc/subgid"):
        owners = {line.split(":")[0] for line in read(name).splitlines()}
        if not owners & {user, str(uid)}:
            first = _first_free(read("/etc/subuid") + "\n" + read("/etc/subgid"))
            ids = f"{first}-{first + _MANY - 1}"
            return Obstacle(
                f"{user} has no subordinate ids in {name}, which making an image needs",
                f"sudo usermod --add-subuids {ids} --add-subgids {ids} {user}",
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


# The size of a user's range of subordinate ids.
_MANY = 65536


def _first_free(ranges: str) -> int:
    """The first id after all ranges of subordinate ids, given as /etc/subuid has them."""
    found = re.findall(r"^[^:\n]+:(\d+):(\d+)$", ranges, re.MULTILINE)
    return max([100_000, *(int(first) + int(count) for first, count in found)])


def to_use(device: Path) -> Obstacle | None:
    """What keeps this user from using a device such as ``/dev/kvm``; None if nothing does."""
    if os.access(device, os.R_OK | os.W_OK):
        return None
    status, user = device.stat(), user_name() or str(os.getuid())
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
        device: the device's path.
        user: the user's name.
        group: the device's group.
        group_may: whether that group may read and write the device.
        is_member: whether the user is in that group; the session may have begun before that.
    """
    what = f"{user} may not use {device}"
    if not group_may:
        return Obstacle(what, f"sudo setfacl --modify user:{user}:rw {device}")
    if is_member:
        return Obstacle(f"{what} in this session", f"log in again, as a member of group {group}")
    return Obstacle(what, f"sudo usermod --append --groups {group} {user}, then log in again")


def _works(*command: str) -> tuple[bool, str]:
    """Whether a command succeeds, and its output."""
    try:
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
    except subprocess.TimeoutExpired:
        return False, f"{command[0]} timed out after {_SECONDS:.0f} s"
    return done.returncode == 0, done.stdout


def _read(name: str) -> str:
    try:
        return Path(name).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def user_name() -> str | None:
    """The name of this process's user; None if the user has none, as in a container."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return None
