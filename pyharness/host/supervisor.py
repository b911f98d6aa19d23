# SPDX-License-Identifier: GPL-2.0
"""Run a command that ends with its parent, whole: ``supervisor.py FD FOLDER COMMAND...``.

A program by itself. The kernel can end a process with its parent, but not with it that
process's own children. This one ends them all as soon as FD, the reading end of a
pipe, says that nobody has the other end open any more, even by SIGKILL. Then, or when
the command ends by itself, what is left in FOLDER is removed, with the folder.

It is for a user's mmdebstrap, whose children are in a user namespace of its own: what
they leave belongs to ids that only root of such a namespace may remove.
"""

import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil

# What the arguments follow, see above.
COMMAND = (sys.executable, "-P", __file__)
_CHILD_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER
_LOOK_SECONDS = 0.2
_END_SECONDS = 10.0


def end_descendants() -> None:
    """End all processes that descend from this one."""
    end = time.monotonic() + _END_SECONDS
    while (found := psutil.Process().children(recursive=True)) and time.monotonic() < end:
        for process in found:
            with suppress(psutil.Error):
                process.kill()
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        time.sleep(0.01)


def remove(folder: Path) -> None:
    """Remove a folder of files that may belong to a user namespace's ids."""
    if left := [str(path) for path in folder.iterdir()]:
        subprocess.run(["mmdebstrap", "--unshare-helper", "rm", "-rf", "--", *left], check=False)
    folder.rmdir()


def main(parent: str, folder: str, *command: str) -> int:
    """Run the command; its exit status, 128 more than the signal's number if one ended it."""
    # The command's orphans become children of this process, so that they can be found.
    ctypes.CDLL(None).prctl(_CHILD_SUBREAPER, 1, 0, 0, 0)
    os.set_inheritable(int(parent), False)
    process = subprocess.Popen(command, close_fds=False)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the command gets its own
    signal.signal(signal.SIGTERM, lambda _number, _frame: process.terminate())
    while process.poll() is None:
        if select.select([int(parent)], [], [], _LOOK_SECONDS)[0]:
            break
    status = process.returncode
    end_descendants()
    remove(Path(folder))
    if status is None:
        return 128 + signal.SIGKILL
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
