# SPDX-License-Identifier: GPL-2.0
"""The workers that check the submissions of a class: processes of this host, or those of Dask."""

import importlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from pyharness.errors import HostError, UsageError
from pyharness.host.apart import ProcessEach
from pyharness.host.progress import NoProgress, Progress
from pyharness.interceptor.rules.checking import Checker
from pyharness.interceptor.rules.marking import Job, Pool
from pyharness.interceptor.rules.problem import reason
from pyharness.interceptor.rules.verdict import Checked

_CONNECT_SECONDS = 30
# A worker of Dask gets its next submission while it checks one.
_AHEAD = 2


def check(job: Job) -> Checked:
    """Check a submission. The guest's image is made if this host does not have it.

    Args:
        job: the submission, and how it is checked.

    Returns:
        The result; if it could not be checked to the end, that says why.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="pyharness-class-") as folder:
            path = Path(folder) / job.archive
            path.write_bytes(job.data)
            with Checker(path, job.settings, NoProgress()) as checker:
                checked = checker.check()
        return replace(checked, report=replace(checked.report, submission=job.name))
    except Exception as error:  # one submission must not stop the others
        problem, status = reason(error)
        return Checked(job.settings.report(job.name, problem), status)


@contextmanager
def local(count: int) -> Iterator[Pool]:
    """Provide workers on this host, each submission in a process of its own.

    Args:
        count: how many submissions are checked at the same time.

    Yields:
        The workers. If an exception leaves the block, they and their guests are ended.
    """
    with ProcessEach(count) as executor:
        yield Pool(executor, lambda: count)


@contextmanager
def dask(address: str, progress: Progress) -> Iterator[Pool]:
    """Provide the workers of a Dask scheduler. Dask repeats the job of one that is lost.

    Args:
        address: the scheduler's address, such as ``tcp://10.0.0.1:8786``.
        progress: says that there is no worker, as long as there is none.

    Yields:
        The workers. At the end of the block, jobs that have not begun are cancelled.

    Raises:
        UsageError: Dask is not installed, or no scheduler answers at the address.
        HostError: the scheduler does not answer any more.
    """
    try:
        distributed = importlib.import_module("distributed")
    except ImportError as error:
        raise UsageError(
            "--scheduler needs Dask, which is not installed: pip install distributed"
        ) from error
    try:
        client = distributed.Client(address, timeout=_CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError) as error:
        raise UsageError(
            f"no Dask scheduler answers at {address}: start one by dask scheduler, and name its"
            " address"
        ) from error

    def room() -> int:
        try:
            threads: dict[str, int] = client.nthreads()
        except OSError as error:
            raise HostError(
                f"the Dask scheduler at {address} is lost: start it again, and run the same"
                " command again to resume"
            ) from error
        return _AHEAD * sum(threads.values())

    with client:
        if not room():
            progress.message(
                f"{address} has no worker yet: start one on each machine by"
                f" dask worker --nthreads 1 {address}"
            )
        # pure=False: Dask must not take the result of an equal job that it still knows.
        executor = client.get_executor(pure=False)
        try:
            yield Pool(executor, room)
        finally:
            executor.shutdown(wait=False)  # cancels what is left
