# SPDX-License-Identifier: GPL-2.0
"""Run a command, and kill it whole when the caller ends: ``supervisor.py FD FOLDER COMMAND...``.

A program by itself. The kernel can kill a process when its parent ends, but not that
process's descendants. This program kills the command and all its descendants when the caller
ends, even by SIGKILL. FD is the read end of a pipe, and reports that no process has the
write end open any more. Then, or when the command ends by itself, this program removes
FOLDER with everything in it.

It is used for mmdebstrap when that doesn't run as root. mmdebstrap's children then have a
user namespace of their own, and their files belong to ids that only root of such a
namespace may remove.
"""

import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

# This program as a command, to which its arguments are appended.
COMMAND = (sys.executable, "-P", __file__)
_CHILD_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER
_TERMINATING = (signal.SIGTERM,)
# How often to check whether the command has ended.
_LOOK_SECONDS = 0.2
# When to give up killing processes.
_END_SECONDS = 10.0


@contextmanager
def held_back() -> Iterator[None]:
    """Have a supervisor that is started in the block begin with SIGTERM blocked.

    Until Python has started, nothing could handle the signal, and FOLDER would be left.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _TERMINATING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end_descendants() -> None:
    """Kill all descendants of this process; some may be left if that takes over 10 seconds."""
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
    """Remove a folder whose files may belong to the ids of a user namespace."""
    if left := [str(path) for path in folder.iterdir()]:
        subprocess.run(["mmdebstrap", "--unshare-helper", "rm", "-rf", "--", *left], check=False)
    folder.rmdir()


def main(parent: str, folder: str, *command: str) -> int:
    """Run the command, kill its descendants, and remove the folder.

    Args:
        parent: the file descriptor of a pipe's read end; the caller has the write end open.
        folder: the folder that is removed at the end.
        command: the command.

    Returns:
        The command's exit status; 128 more than the signal's number if a signal ended it.
    """
    # Orphans among the command's descendants become children of this process, which finds them.
    ctypes.CDLL(None).prctl(_CHILD_SUBREAPER, 1, 0, 0, 0)
    os.set_inheritable(int(parent), False)
    asked: list[int] = []
    started: list[subprocess.Popen[bytes]] = []

    def terminate(number: int, _frame: object) -> None:
        asked.append(number)
        for process in started:
            process.terminate()

    signal.signal(signal.SIGTERM, terminate)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _TERMINATING)  # see held_back()
    process = subprocess.Popen(command, close_fds=False)
    started.append(process)
    if asked:  # before there was a process
        process.terminate()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal sends it to the command, too
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
