# SPDX-License-Identifier: GPL-2.0
"""Run a command as root, with private mounts: ``private_mounts.py SOURCE TARGET COMMAND...``.

A program by itself, which ``unshare --mount --pid --fork --propagation unchanged`` runs.
No other process sees what the command mounts, and the mounts end with it. SOURCE is
mounted on TARGET, whose path has no characters that programs can't handle.

unshare could make the mounts private itself if ``/`` were always a mount point, which it
isn't in a plain chroot. So this process joins the mount namespace that it is in: that
moves it out of the chroot, to the root of the namespace, which is a mount point. Once the
mounts are private, it returns to the chroot.
"""

import ctypes
import os
import sys

_NEW_MOUNTS = 0x20000  # CLONE_NEWNS
_BIND, _RECURSIVE, _PRIVATE = 0x1000, 0x4000, 1 << 18  # MS_BIND, MS_REC, MS_PRIVATE
_NO_DEVICES = 0x2 | 0x4 | 0x8  # MS_NOSUID | MS_NODEV | MS_NOEXEC
# What a command of root's begins with to have mounts and processes of its own: two folders follow,
# the first of which is mounted on the second, and then the command.
COMMAND = (
    *("unshare", "--mount", "--pid", "--fork", "--kill-child", "--propagation", "unchanged", "--"),
    *(sys.executable, "-I", "-S", __file__),
)
_libc = ctypes.CDLL(None, use_errno=True)


def _call(name: str, *arguments: object) -> None:
    if getattr(_libc, name)(*arguments):
        error = ctypes.get_errno()
        sys.exit(f"{name}{arguments}: {os.strerror(error)}")


def _mount(source: str | None, target: str, kind: str | None, flags: int) -> None:
    names = (os.fsencode(name) if name else None for name in (source, target, kind))
    _call("mount", *names, ctypes.c_ulong(flags), None)


def main(source: str, target: str, *command: str) -> None:
    """Make this process's mounts private, mount the source on the target, and exec the command."""
    root = os.open("/", os.O_PATH)
    own = os.open("/proc/self/ns/mnt", os.O_RDONLY)
    _call("setns", own, _NEW_MOUNTS)
    _mount(None, "/", None, _RECURSIVE | _PRIVATE)
    os.fchdir(root)
    os.chroot(".")
    # This /proc shows only the processes of our PID namespace.
    _mount("proc", "/proc", "proc", _NO_DEVICES)
    _mount(source, target, None, _BIND)
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(*sys.argv[1:])
