# SPDX-License-Identifier: GPL-2.0
"""Checks the modules of a class: what ``pyharness check --class`` does."""

import hashlib
import os
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from pathlib import Path

import click

from pyharness.cli import standard_output
from pyharness.errors import HostError, UsageError
from pyharness.host import cache
from pyharness.host.progress import TerminalProgress
from pyharness.host.wording import counted
from pyharness.host.writable import can_make_folder
from pyharness.interceptor.rules import class_folder, workers
from pyharness.interceptor.rules.marking import Marking, Pool
from pyharness.interceptor.rules.marks import Marks
from pyharness.interceptor.rules.reports import text
from pyharness.interceptor.rules.reports.characters import shown
from pyharness.interceptor.rules.settings import Settings
from pyharness.interceptor.rules.verdict import Checked
from pyharness.machine import guest_specs, saved_states

MOST_SEED = 1 << 32


def check_class(
    folder: Path,
    *,
    settings: Settings,
    seed: int | None,
    count: int | None,
    out: Path | None,
    scheduler: str | None,
) -> int:
    """Check each submission of a class that is not checked yet, and write and print the results.

    Args:
        folder: has a sub-folder or an archive for each student.
        settings: how each is checked.
        seed: the seed that the user named; None: the one by which the class was begun, or else
            that of the settings.
        count: how many submissions this host checks at the same time; None: as fits its CPUs.
        out: the folder for the results; None: one beside the class's.
        scheduler: the address of a Dask scheduler whose workers check; None: this host does.

    Returns:
        The exit status: 0 if all could be checked.

    Raises:
        HarnessError: nothing can be checked.
    """
    if scheduler and count:
        raise UsageError("--workers is for this host: leave it out, and see dask worker --nthreads")
    folder = folder.resolve()
    if out is None and not folder.name:
        raise UsageError(f"{folder} has no folder beside it: name one for the results by --out")
    out = out or folder.with_name(f"{folder.name}-marks")
    submissions = class_folder.submissions(folder, without=out)
    can_make_folder(out, "--out")
    out.mkdir(parents=True, exist_ok=True)
    progress = TerminalProgress()
    name = hashlib.sha256(os.fsencode(out.resolve())).hexdigest()[:16]
    with ExitStack() as stack:
        stack.enter_context(
            cache.locked(
                f"class-{name}",
                waiting=lambda: progress.task(f"waiting for another command that marks to {out}"),
            )
        )
        marks = Marks(out)
        settings = replace(settings, seed=marks.seed(seed, settings.seed))
        marking = Marking(settings=settings, marks=marks, check=workers.check)
        kept = {student.name: marking.kept(student) for student in submissions}
        done = [Checked(report) for report in kept.values() if report]
        if done:
            progress.message(
                f"{len(done)} of {counted(len(kept), 'submission')} are marked already"
            )
        left = [student for student in submissions if not kept[student.name]]
        if left:
            if not scheduler:  # so that the first workers need not wait for each other
                saved_states.ensure(guest_specs.find(settings.guest), progress=progress)
            pool = stack.enter_context(_pool(scheduler, count, progress))
            done += marking.mark(left, pool, progress)
        done.sort(key=lambda marked: marked.report.submission)
        marks.record_class([marked.report for marked in done], title=folder.name or str(folder))
    return _end(done, out)


def _pool(
    scheduler: str | None, count: int | None, progress: TerminalProgress
) -> AbstractContextManager[Pool]:
    if scheduler:
        return workers.dask(scheduler, progress)
    return workers.local(count or max(1, (os.cpu_count() or 1) // 2))


def _end(done: Sequence[Checked], out: Path) -> int:
    """Print the results, and return the exit status."""
    console = standard_output.console()
    console.print(text.class_text([marked.report for marked in done]), soft_wrap=True)
    click.echo(f"{out / class_folder.CLASS}.html links to each student's page")
    failed = [marked for marked in done if marked.status]
    if not failed:
        return 0
    click.echo(f"not marked: {len(failed)} of {counted(len(done), 'submission')}", err=True)
    for marked in failed:
        report = marked.report
        click.echo(f"  {shown(report.submission)}: {shown(report.problem)}", err=True)
    statuses = {marked.status for marked in failed}
    return HostError.exit_code if HostError.exit_code in statuses else max(statuses)
