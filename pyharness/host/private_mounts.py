# SPDX-License-Identifier: GPL-2.0
"""Run a command of root's with mounts of its own: ``private_mounts.py SOURCE TARGET COMMAND...``.

A program by itself, for ``unshare --mount --pid --fork --propagation unchanged``.
What the command mounts is seen by nobody else, and ends with it. SOURCE is mounted
on TARGET, where its path has no characters that a program may stumble on.

unshare could see to that alone if ``/`` were always a mount point, which it isn't in
a plain chroot. To join the mount namespace that one is in leads out of a chroot, to
that namespace's own root, which is a mount point; afterwards the process goes back.
"""

import ctypes
import os
import sys

_NEW_MOUNTS = 0x20000  # CLONE_NEWNS
_BIND, _RECURSIVE, _PRIVATE = 0x1000, 0x4000, 1 << 18
_NO_DEVICES = 0x2 | 0x4 | 0x8  # MS_NOSUID | MS_NODEV | MS_NOEXEC
_libc = ctypes.CDLL(None, use_errno=True)


def _call(name: str, *arguments: object) -> None:
    if getattr(_libc, name)(*arguments):
        error = ctypes.get_errno()
        sys.exit(f"{name}{arguments}: {os.strerror(error)}")


def _mount(source: str | None, target: str, kind: str | None, flags: int) -> None:
    names = (os.fsencode(name) if name else None for name in (source, target, kind))
    _call("mount", *names, ctypes.c_ulong(flags), None)


def main(source: str, target: str, *command: str) -> None:
    """Keep this process's mounts apart, and become the command."""
    root = os.open("/", os.O_PATH)
    own = os.open("/proc/self/ns/mnt", os.O_RDONLY)
    _call("setns", own, _NEW_MOUNTS)
    _mount(None, "/", None, _RECURSIVE | _PRIVATE)
    os.fchdir(root)
    os.chroot(".")
    # Of the processes in this namespace alone.
    _mount("proc", "/proc", "proc", _NO_DEVICES)
    _mount(source, target, None, _BIND)
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(*sys.argv[1:])
