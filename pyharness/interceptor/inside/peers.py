# SPDX-License-Identifier: GPL-2.0
"""The program that measures in the guest of ``pyharness bench --peers``.

    peers.py FOLDER OUTPUT

FOLDER has the program ``calls`` (from peers.c), ``peers.json`` with a list of rows as peers.toml
describes them, and what the rows' commands use. For each row, it measures two processes before
the peer has started, while it records, and after it has stopped. It writes a JSON object on a line
of OUTPUT when it begins a row, for each result, and at the end. Python's standard library alone.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# The guest's clock counts instructions, and jumps ahead when nothing runs.
READY_SECONDS = 600.0
STOP_SECONDS = 120.0
COMMAND_SECONDS = 600.0
POLL_SECONDS = 0.2
# How much of a program's output an error has, from its end (characters).
LAST_CHARACTERS = 300
TRACED_CALL, OTHER_CALL = "getppid", "getpgrp"


class Missing(Exception):
    """The row can't be measured here; the message says why."""


class Calls:
    """A process that makes system calls and reports what they cost."""

    def __init__(self, folder: Path, wrapper: str) -> None:
        words = [word.replace("$FILES", str(folder)) for word in shlex.split(wrapper)]
        self._errors = folder / "calls.err"
        with self._errors.open("w") as errors:
            self._process = subprocess.Popen(
                [*words, folder / "calls"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                bufsize=1,
            )
        self.pid = int(self._answer())

    def _answer(self) -> str:
        assert self._process.stdout is not None
        if line := self._process.stdout.readline():
            return line
        raise Missing(f"the measured process has ended: {last(self._errors.read_text())}")

    def cost(self, call: str) -> float:
        """The cost of a call, in instructions."""
        assert self._process.stdin is not None
        self._process.stdin.write(call + "\n")
        return float(self._answer())

    def end(self) -> None:
        """End the process, and wait until it is gone."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait()


def last(text: str) -> str:
    """The end of a program's output, on one line."""
    return " ".join(text.split())[-LAST_CHARACTERS:]


class Row:
    """A peer, and how it is started and stopped."""

    def __init__(self, facts: dict[str, Any], folder: Path) -> None:
        self._facts = facts
        self._folder = folder
        self._daemon: subprocess.Popen[bytes] | None = None
        self.environment = {
            **os.environ,
            "FILES": str(folder),
            "TRACING": "/sys/kernel/tracing",
            "OUT": str(folder / "peer.out"),
        }
        self._out = folder / "peer.out"

    def check(self) -> None:
        """Raise Missing if the guest lacks what the peer needs."""
        for program in self._facts["programs"]:
            if not shutil.which(program):
                raise Missing(f"the guest has no program {program}")
        for need in self._facts["needs"]:
            if self.shell(need["test"]).returncode:
                raise Missing(need["missing"])

    def shell(self, command: str) -> subprocess.CompletedProcess[str]:
        """Run a shell command of the row."""
        with (self._folder / "shell.out").open("w+") as said:
            done = subprocess.run(
                ["sh", "-ec", command],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                timeout=COMMAND_SECONDS,
                check=False,
            )
            said.seek(0)
            return subprocess.CompletedProcess(command, done.returncode, said.read())

    def run(self, step: str) -> subprocess.CompletedProcess[str]:
        """Run the command of a step."""
        return self.shell(self._facts[step])

    def step(self, name: str) -> None:
        """Run the command of a step; raise Missing if it fails."""
        succeeded(self.run(name), f"{name} fails")

    def start_daemon(self) -> None:
        """Start the program that records, and wait until it does."""
        if self._facts["daemon"]:
            with self._out.open("w") as out:
                self._daemon = subprocess.Popen(
                    ["sh", "-ec", "exec " + self._facts["daemon"]],
                    env=self.environment,
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=out,
                )
            self.environment["DAEMON"] = str(self._daemon.pid)
        if not self._facts["ready"]:
            return
        end = time.monotonic() + READY_SECONDS
        while self.shell(self._facts["ready"]).returncode:
            if self._daemon and self._daemon.poll() is not None:
                raise Missing(f"it ends with {self._daemon.returncode}: {self._said()}")
            if time.monotonic() > end:
                raise Missing(f"it is not ready after {READY_SECONDS:.0f} s: {self._said()}")
            time.sleep(POLL_SECONDS)

    def _said(self) -> str:
        return last(self._out.read_text(errors="replace"))

    def stop_daemon(self) -> None:
        """Interrupt the program that records, and wait until it has ended."""
        if self._daemon is None:
            return
        self._daemon.send_signal(signal.SIGINT)
        try:
            self._daemon.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._daemon.kill()
            self._daemon.wait()
        self._daemon = None


@contextlib.contextmanager
def processes(folder: Path, wrapper: str = "") -> Iterator[tuple[Calls, Calls]]:
    """Yield the process that is traced, and another one."""
    with contextlib.ExitStack() as started:
        traced = Calls(folder, wrapper)
        started.callback(traced.end)
        other = Calls(folder, "")
        started.callback(other.end)
        yield traced, other


def costs(traced: Calls, other: Calls) -> dict[str, float]:
    """What the calls of both processes cost, in instructions."""
    return {
        "traced": traced.cost(TRACED_CALL),
        "other_process": other.cost(TRACED_CALL),
        "other_call": traced.cost(OTHER_CALL),
    }


def succeeded(done: subprocess.CompletedProcess[str], what: str) -> None:
    """Raise Missing if a command has failed."""
    if done.returncode:
        raise Missing(f"{what} (exit status {done.returncode}): {last(done.stdout)}")


def measured(row: Row, wrapper: str, folder: Path) -> dict[str, dict[str, float]]:
    """The costs before the peer starts, while it records, and after it has stopped."""
    row.check()
    with processes(folder) as (traced, other):
        base = costs(traced, other)
    try:
        row.step("setup")
        with processes(folder, wrapper) as (traced, other):
            row.environment |= {"PID": str(traced.pid), "OTHER": str(os.getpid())}
            try:
                row.step("start")
                row.start_daemon()
                recording = costs(traced, other)
            finally:
                row.stop_daemon()
                proof = row.run("proof")
                stopped = row.run("stop")
    finally:
        ended = row.run("teardown")
    succeeded(proof, "it has recorded no call")
    succeeded(stopped, "it can't be stopped")
    succeeded(ended, "it can't be stopped")
    with processes(folder) as (traced, other):
        after = costs(traced, other)
    return {"base": base, "recording": recording, "after": after}


def main() -> None:
    """Measure all rows."""
    folder, output = map(Path, sys.argv[1:])
    rows = json.loads((folder / "peers.json").read_text())
    with output.open("w", buffering=1) as results:
        for facts in rows:
            name = facts["name"]
            print(json.dumps({"begin": name}), file=results)
            try:
                result: dict[str, Any] = dict(
                    measured(Row(facts, folder), facts["wrapper"], folder)
                )
            except (Missing, OSError, ValueError, subprocess.TimeoutExpired) as error:
                result = {"missing": str(error)}
            print(json.dumps({"row": name, **result}), file=results)
        print(json.dumps({"done": True}), file=results)


if __name__ == "__main__":
    main()
