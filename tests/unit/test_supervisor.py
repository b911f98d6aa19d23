# SPDX-License-Identifier: GPL-2.0
"""A supervised command ends with its folder, however early its supervisor is terminated."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

from pyharness.host import supervisor


@pytest.mark.parametrize("attempt", range(3))
def test_a_supervisor_that_is_terminated_at_once_leaves_nothing(
    tmp_path: Path, attempt: int
) -> None:
    folder = tmp_path / f"tree-{attempt}"
    folder.mkdir()
    reading, writing = os.pipe()
    line = [*supervisor.COMMAND, str(reading), str(folder), "sleep", "1000"]
    with supervisor.held_back():
        process = subprocess.Popen(line, pass_fds=[reading])
    process.terminate()
    assert process.wait() == 128 + signal.SIGTERM
    os.close(reading)
    os.close(writing)
    assert not folder.exists()


def test_a_command_can_be_terminated(tmp_path: Path) -> None:
    """It does not have the signal blocked."""
    folder = tmp_path / "tree"
    folder.mkdir()
    reading, writing = os.pipe()
    line = [*supervisor.COMMAND, str(reading), str(folder), "sh", "-c", "kill $$; echo goes on"]
    with supervisor.held_back():
        done = subprocess.run(line, pass_fds=[reading], check=False, stdout=subprocess.PIPE)
    assert (done.returncode, done.stdout) == (128 + signal.SIGTERM, b"")
    os.close(reading)
    os.close(writing)
