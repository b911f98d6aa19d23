# SPDX-License-Identifier: GPL-2.0
"""Whatever a long step does, somebody who looks sees that it goes on."""

import os
import pty
import re
import subprocess
import sys

# A step whose own work blocks: in a system call, for as long as the last argument says.
PROGRAM = """
import sys, time
from pyharness.host import progress
progress._QUIET_SECONDS = 0.5
with progress.TerminalProgress().task("a step") as task:
    task.at(0.25, "[waiting]")
    begin = time.monotonic()
    time.sleep(float(sys.argv[1]))
    print(time.monotonic() - begin)
"""


def test_a_line_comes_now_and_then() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, "1.8"], capture_output=True, text=True, check=True
    )
    first, *others = done.stderr.splitlines()
    assert first == "a step: [waiting] (25%)"
    assert 1 <= len(others) <= float(done.stdout) / 0.5 + 1
    for line in others:
        assert re.fullmatch(r"a step: \[waiting\] \(25%\), \d s so far", line)


def test_a_step_that_says_nothing_has_lines_too() -> None:
    program = PROGRAM.replace('task.at(0.25, "[waiting]")', "pass")
    done = subprocess.run(
        [sys.executable, "-c", program, "0.8"], capture_output=True, text=True, check=True
    )
    assert re.match(r"a step: still running, [01] s so far\n", done.stderr)


def test_a_short_step_has_no_such_line() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, "0"], capture_output=True, text=True, check=True
    )
    assert done.stderr == "a step: [waiting] (25%)\n"


def test_a_bar_moves_each_second() -> None:
    ours, its = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "2.5"],
        stderr=its,
        env=os.environ | {"TERM": "xterm", "COLUMNS": "80"},
    ):
        os.close(its)
        said = b""
        try:
            while data := os.read(ours, 4096):
                said += data
        except OSError:  # the other end is closed
            os.close(ours)
    assert {b"0:00:00", b"0:00:01", b"0:00:02"} <= set(re.findall(rb"0:00:0\d", said))
