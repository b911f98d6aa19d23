# SPDX-License-Identifier: GPL-2.0
"""Programs of this host that end with the process that has started them, and not earlier."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue

import pytest
import stand_in

from pyharness.host import children, lasting_thread
from pyharness.machine import lifecycle, qemu_process
from pyharness.machine.saved_states import SavedState

# It prints a line when it has replaced setpriv, which has made it end with its parent.
BEGUN = ["sh", "-c", "echo begun; exec sleep 1000"]
# Of anything that happens at once on an idle host.
SECONDS = 60.0


def task(thread: threading.Thread) -> Path:
    """The kernel's folder of a thread, which exists for as long as the kernel has the thread."""
    return Path(f"/proc/self/task/{thread.native_id}")


def test_a_child_outlives_the_thread_that_has_started_it() -> None:
    started: list[subprocess.Popen[bytes]] = []

    def start() -> None:
        process = children.start(BEGUN, stdout=subprocess.PIPE)
        started.append(process)
        assert process.stdout
        assert process.stdout.readline() == b"begun\n"

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    while task(thread).exists():  # for a moment after its last instruction
        pass
    with started[0] as process:
        process.terminate()
        assert process.wait() == -signal.SIGTERM  # a SIGKILL that came before would have won


PROGRAM = f"""
import sys, threading
from pyharness.host import children
thread = threading.Thread(target=lambda: children.start({BEGUN}))
thread.start()
thread.join()
sys.stdin.read()
"""


def test_a_child_ends_with_its_process() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == b"begun\n"
        process.kill()
        assert process.stdout.read() == b""  # the child has this open until it ends


def test_a_program_that_does_not_exist_is_an_error_of_its_own() -> None:
    with pytest.raises(FileNotFoundError):
        children.start(["/nosuch"], outlives=True)


def test_what_was_done_for_a_caller_that_was_interrupted_is_undone() -> None:
    class Interrupted(Exception):
        pass

    left, undone = threading.Event(), SimpleQueue[int]()
    came: list[int] = []

    def interrupt(number: int, _frame: object) -> None:
        came.append(number)
        if len(came) == 1:
            raise Interrupted

    before = signal.signal(signal.SIGUSR1, interrupt)

    def function() -> int:
        # A signal that comes right before a thread begins to wait does not wake it, but the next.
        while not left.wait(0.01):
            os.kill(os.getpid(), signal.SIGUSR1)
        return 5

    try:
        with pytest.raises(Interrupted):
            lasting_thread.call(function, undo=undone.put)
        left.set()
        assert undone.get(timeout=SECONDS) == 5
    finally:
        signal.signal(signal.SIGUSR1, before)


@pytest.fixture
def saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SavedState]:
    with stand_in.saved_state(tmp_path, monkeypatch, stand_in.IDLE) as state:
        yield state


def test_guests_of_a_pool_of_threads_outlive_it(saved: SavedState) -> None:
    with ThreadPoolExecutor() as pool:
        machines = list(pool.map(lambda _: lifecycle.start(saved), range(3)))
        threads = [*pool._threads]
    while any(task(thread).exists() for thread in threads):
        pass
    for machine in machines:
        os.kill(machine.pid, signal.SIGTERM)
        assert qemu_process._started[machine.pid].wait() == -signal.SIGTERM
