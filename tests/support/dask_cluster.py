# SPDX-License-Identifier: GPL-2.0
"""A Dask scheduler and its workers, as processes of this host."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

_DASK = [sys.executable, "-W", "ignore", "-m", "dask"]


@dataclass(frozen=True)
class Cluster:
    """A scheduler and its workers, each of which does one thing at a time.

    Attributes:
        address: the scheduler's address.
        scheduler: its process.
        workers: their processes.
    """

    address: str
    scheduler: "subprocess.Popen[str]"
    workers: list["subprocess.Popen[str]"]


@contextmanager
def cluster(workers: int = 2) -> Iterator[Cluster]:
    """Start a scheduler and workers, and end them at the end of the block.

    They can import what this process can.

    Args:
        workers: how many.
    """
    env = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    line = [*_DASK, "scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard"]
    scheduler = subprocess.Popen(line, env=env, stderr=subprocess.PIPE, text=True)
    processes = [scheduler]
    try:
        assert scheduler.stderr
        address = next(line.split()[-1] for line in scheduler.stderr if "Scheduler at:" in line)
        line = [*_DASK, "worker", address, "--nthreads", "1", "--no-nanny", "--no-dashboard"]
        processes += [
            subprocess.Popen(line, env=env, stderr=subprocess.DEVNULL, text=True)
            for _ in range(workers)
        ]
        yield Cluster(address, scheduler, processes[1:])
    finally:
        for process in processes:
            process.kill()
            process.communicate()
