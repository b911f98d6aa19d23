# SPDX-License-Identifier: GPL-2.0
"""Runs a program of this host that may last, with a time limit."""

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from pyharness.errors import GuestTimeout
from pyharness.host import children, signals
from pyharness.host.cpu_time import Clock

_POLL_SECONDS = 0.02


@dataclass(frozen=True)
class Ran:
    """The result of a program.

    Attributes:
        status: its exit status.
        output: what it printed: to standard output and, unless left out, to standard error.
    """

    status: int
    output: str


@contextmanager
def _killed_as_a_group(leader: int) -> Iterator[None]:
    """Kill a process and its children if the block raises an exception."""
    try:
        yield
    except BaseException:
        with suppress(ProcessLookupError):
            os.killpg(leader, signal.SIGKILL)
        raise


def run_until(
    command: Sequence[str],
    *,
    seconds: float,
    folder: Path | None = None,
    with_errors: bool = True,
) -> Ran:
    """Run a program until it ends, and kill it, with its children, if that takes too long.

    Args:
        command: the program and its arguments.
        seconds: how long it may take, without the time in which a busy host kept it waiting.
        folder: the folder in which it runs; None: the current one.
        with_errors: whether what it prints to standard error is part of its output.

    Raises:
        GuestTimeout: it took longer.
        HostError: this host lacks a program.
    """
    with tempfile.TemporaryFile() as output:
        process = children.start(
            command,
            cwd=folder,
            stdout=output,
            stderr=subprocess.STDOUT if with_errors else subprocess.DEVNULL,
            start_new_session=True,
        )
        with signals.ended(process), _killed_as_a_group(process.pid):
            clock = Clock(process.pid, children=True)
            while process.poll() is None:
                if clock() > seconds:
                    raise GuestTimeout(f"{' '.join(command)}: timed out after {seconds:.0f} s")
                time.sleep(_POLL_SECONDS)
        output.seek(0)
        return Ran(process.returncode, output.read().decode(errors="replace"))
