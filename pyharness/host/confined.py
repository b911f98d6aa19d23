# SPDX-License-Identifier: GPL-2.0
"""Run a command in another root folder that it can't leave: ``confined.py FOLDER COMMAND...``.

A program by itself, for root or root of a user namespace. The command keeps only those of root's
rights that concern its own files: with the others it could leave the folder, mount, make devices,
and load modules. Whoever is in such a folder can't make a user namespace, either, which would
have these rights again.
"""

import ctypes
import itertools
import os
import sys

# This program as a command, to which its arguments are appended.
COMMAND = (sys.executable, "-I", "-S", __file__)
_KEPT = (0, 1, 3, 4)  # CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_FOWNER, CAP_FSETID
_VERSION = 0x20080522  # _LINUX_CAPABILITY_VERSION_3
_DROP, _NO_NEW_PRIVILEGES = 24, 38  # PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS


def main(folder: str, *command: str) -> None:
    """Enter the folder, give up rights, and exec the command, whose path is in the folder."""
    libc = ctypes.CDLL(None, use_errno=True)
    os.chroot(folder)
    os.chdir("/")
    # The first number that is no capability of this kernel's is an error.
    for number in itertools.count():
        if number not in _KEPT and libc.prctl(_DROP, number, 0, 0, 0):
            break
    kept = sum(1 << number for number in _KEPT)
    header = (ctypes.c_uint32 * 2)(_VERSION, 0)
    # Effective, permitted and inheritable, for the lower and the upper 32 capabilities.
    rights = (ctypes.c_uint32 * 6)(kept, kept, 0, 0, 0, 0)
    if libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0) or libc.capset(header, rights):
        sys.exit(f"rights can't be given up: {os.strerror(ctypes.get_errno())}")
    os.execv(command[0], command)


if __name__ == "__main__":
    main(*sys.argv[1:])
