# SPDX-License-Identifier: GPL-2.0
"""Child processes that the kernel kills when this process ends."""

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from pyharness.host import lasting_thread
from pyharness.host.programs import die_with_parent, environment


def start(
    command: Sequence[str],
    *,
    outlives: bool = False,
    cwd: Path | None = None,
    stdout: int | IO[bytes] | None = None,
    stderr: int | IO[bytes] | None = None,
    start_new_session: bool = False,
    pass_fds: Sequence[int] = (),
) -> "subprocess.Popen[bytes]":
    """Start a program of this host, which has no standard input, as a child of this process.

    For the kernel, a child's parent is the thread that has forked it. The child must not end with
    a thread of the caller's, so a thread forks it that lasts as long as this process.

    Args:
        command: the program and its arguments.
        outlives: whether it goes on when this process ends.
        cwd: its current folder; None: that of this process.
        stdout: its standard output, as for Popen.
        stderr: its standard error, as for Popen.
        start_new_session: whether it has a session of its own, which gets no Ctrl-C.
        pass_fds: the file descriptors that it inherits.

    Raises:
        HostError: setpriv isn't installed.
        OSError: the program can't be started.
    """
    line = list(command) if outlives else die_with_parent(command)

    def popen() -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            line,
            cwd=cwd,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            start_new_session=start_new_session,
            pass_fds=pass_fds,
        )

    return lasting_thread.call(popen, undo=_kill)


def _kill(process: "subprocess.Popen[bytes]") -> None:
    process.kill()
    process.wait()
