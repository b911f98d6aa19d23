# SPDX-License-Identifier: GPL-2.0
"""Runs ``pyharness`` as a person types it, with machines apart from those of this host's user."""

import os
import subprocess
import sys
from pathlib import Path

SECONDS = 120


class Cli:
    """Runs ``pyharness`` and keeps what it said."""

    def __init__(self, run: Path) -> None:
        self.env = os.environ | {"PYHARNESS_RUN": str(run)}
        self.line = [sys.executable, "-m", "pyharness"]

    def __call__(self, *words: str, status: int = 0, stdin: str = "") -> str:
        """Run a command that is to end with that status; both its outputs."""
        done = subprocess.run(
            [*self.line, *words],
            input=stdin,
            capture_output=True,
            text=True,
            env=self.env,
            timeout=SECONDS,
            check=False,
        )
        said = done.stdout + done.stderr
        assert done.returncode == status, said
        assert "Traceback" not in said
        return said

    def start(self, *words: str) -> "subprocess.Popen[str]":
        """Start a command that can be interrupted, even if these tests can't (nohup, &)."""
        return subprocess.Popen(
            ["env", "--default-signal=INT,TERM,HUP", *self.line, *words],
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def until_gone(self, end: str, text: bytes, *words: str) -> int:
        """Start a command, and close the terminal or pipe that it writes to after some text.

        Returns:
            Its exit status.
        """
        terminal = end == "terminal"
        reader, writer = os.openpty() if terminal else os.pipe()
        line = ["env", "--default-signal=HUP", *(["setsid", "--ctty"] * terminal)]
        with subprocess.Popen(
            [*line, *self.line, *words],
            env=self.env,
            stdin=writer if terminal else subprocess.DEVNULL,
            stdout=writer,
            stderr=writer,
        ) as process:
            os.close(writer)
            said = b""
            while text not in said:
                assert process.poll() is None, said
                said += os.read(reader, 4096)
            os.close(reader)
            return process.wait(SECONDS)
