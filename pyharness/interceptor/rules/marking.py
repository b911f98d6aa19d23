# SPDX-License-Identifier: GPL-2.0
"""Marks a class: finds out what is left to do, has workers check it, and records the results."""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Executor, Future, wait
from dataclasses import dataclass, field

from pyharness.errors import HostError
from pyharness.host.progress import Progress, Task
from pyharness.interceptor.rules.class_folder import Submission
from pyharness.interceptor.rules.marks import Inputs, Marks, inputs_of
from pyharness.interceptor.rules.problem import reason
from pyharness.interceptor.rules.settings import Settings
from pyharness.interceptor.rules.submission import packed
from pyharness.interceptor.rules.verdict import Checked, Report

# How often to look whether there are more workers than before.
_LOOK_SECONDS = 5.0


@dataclass(frozen=True, kw_only=True)
class Job:
    """All that a worker needs to check a submission; nothing of it is a path of this host.

    Attributes:
        name: the submission's name.
        archive: the name of the archive that it is packed in.
        data: the archive.
        settings: how it is checked.
    """

    name: str
    archive: str
    data: bytes = field(repr=False)
    settings: Settings


@dataclass(frozen=True)
class Pool:
    """Workers that check submissions.

    Attributes:
        executor: takes the jobs. A job whose worker was lost raises an exception.
        room: returns how many jobs it is given at once; raises HostError if the workers are lost.
    """

    executor: Executor
    room: Callable[[], int]


Check = Callable[[Job], Checked]


@dataclass(frozen=True, kw_only=True)
class Marking:
    """The marking of a class.

    Attributes:
        settings: how each module is checked.
        marks: where the results are.
        check: checks a submission, in a worker; it raises no exception.
    """

    settings: Settings
    marks: Marks
    check: Check

    def kept(self, submission: Submission) -> Report | None:
        """Return the report about a submission if it was checked before, and nothing has changed.

        Args:
            submission: the submission.
        """
        if not self.marks.has(submission.name):
            return None
        try:
            inputs = inputs_of(self.settings, *packed(submission.path))
        except Exception:  # it is recorded when its turn comes
            return None
        return self.marks.kept(submission.name, inputs)

    def mark(
        self, submissions: Sequence[Submission], pool: Pool, progress: Progress
    ) -> Iterator[Checked]:
        """Check submissions, and record each result as soon as it is there.

        A submission whose worker was lost is checked once more after all others, by itself.

        Args:
            submissions: the submissions.
            pool: checks them.
            progress: shows how far the class is.

        Yields:
            Each result, in the order in which they come.

        Raises:
            HostError: all workers are lost, for good.
        """
        lost: list[Submission] = []
        with progress.task("marking") as task:
            clock = _Clock(task, len(submissions))
            for wave in (submissions, lost):
                # The second wave is complete once the first one is over.
                room = pool.room if wave is submissions else lambda: min(1, pool.room())
                for submission, inputs, marked in self._wave(wave, pool.executor, room):
                    if isinstance(marked, BaseException):
                        if wave is submissions:
                            lost.append(submission)
                            continue
                        marked = self._lost(submission, marked)  # noqa: PLW2901
                    self.marks.record(marked.report, inputs)
                    clock.step()
                    yield marked

    def _lost(self, submission: Submission, error: BaseException) -> Checked:
        said = " ".join(f"{type(error).__name__}: {error}".split())
        problem = f"the worker that checked it was lost, twice: {said}"
        return Checked(self.settings.report(submission.name, problem), HostError.exit_code)

    def _wave(
        self, submissions: Sequence[Submission], executor: Executor, room: Callable[[], int]
    ) -> Iterator[tuple[Submission, Inputs, Checked | BaseException]]:
        """Check submissions. Only those that are being checked are in memory."""
        waiting = [*reversed(submissions)]
        running: dict[Future[Checked], tuple[Submission, Inputs]] = {}
        while waiting or running:
            most = max(1, room())
            while waiting and len(running) < most:
                submission = waiting.pop()
                try:
                    archive, data = packed(submission.path)
                except Exception as error:  # one submission must not stop the others
                    problem, status = reason(error)
                    report = self.settings.report(submission.name, problem)
                    yield submission, inputs_of(self.settings, "", b""), Checked(report, status)
                    continue
                inputs = inputs_of(self.settings, archive, data)
                job = Job(name=submission.name, archive=archive, data=data, settings=self.settings)
                running[executor.submit(self.check, job)] = submission, inputs
            done, _ = wait(running, timeout=_LOOK_SECONDS, return_when=FIRST_COMPLETED)
            for future in done:
                submission, inputs = running.pop(future)
                yield submission, inputs, _result(future)


def _result(future: Future[Checked]) -> Checked | BaseException:
    try:
        return future.exception() or future.result()
    except CancelledError as error:
        return error


class _Clock:
    """Shows how many submissions are checked, and estimates how long the others will take."""

    def __init__(self, task: Task, count: int) -> None:
        self._task, self._count = task, count
        self._done = 0
        self._begin = time.monotonic()
        if count:
            task.at(0, f"0 of {count}")

    def step(self) -> None:
        """Count one more."""
        self._done += 1
        doing = f"{self._done} of {self._count}"
        if left := self._count - self._done:
            seconds = (time.monotonic() - self._begin) / self._done * left
            doing += f", about {_period(seconds)} left"
        self._task.at(self._done / self._count, doing)


def _period(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
