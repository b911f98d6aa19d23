# SPDX-License-Identifier: GPL-2.0
"""Checks submissions in workers without any guest: the name says what happens."""

import os
import signal
import time
from pathlib import Path

from sample_reports import TWICE, report

from pyharness.interceptor.rules.marking import Job
from pyharness.interceptor.rules.verdict import Checked

# The folder in which each check leaves a file; a worker of any host has to have it.
LOG = "FAKE_CHECK_LOG"


def check(job: Job) -> Checked:
    """Check a submission as its name says: ``kill``, ``kill-once``, ``problem``, ``slow``."""
    log = Path(os.environ[LOG])
    before = len(checked(log, job.name))
    (log / f"{job.name}@{before}@{os.getpid()}").touch()
    if job.name == "kill" or (job.name == "kill-once" and not before):
        os.kill(os.getpid(), signal.SIGKILL)
    if job.name.startswith("slow"):
        time.sleep(120 if job.name == "slow" else 1)
    made = report(TWICE, submission=job.name, seed=job.settings.seed)
    if job.name == "problem":
        return Checked(report(submission=job.name, problem="no guest", seed=job.settings.seed), 4)
    return Checked(made)


def checked(log: Path, name: str = "*") -> list[str]:
    """Return the names of the checks that have begun, each as often as it was."""
    return sorted(path.name.split("@")[0] for path in log.glob(f"{name}@*"))
