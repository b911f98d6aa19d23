# SPDX-License-Identifier: GPL-2.0
"""Measures the cost of an intercepted system call, in instructions of the guest.

QEMU derives the guest's time from the number of instructions (``-icount``), so the figures are
the same to the hundredth on any host, however loaded. The machine runs the guest's own kernel,
with the built module and one program, ``inside/bench.c``.
"""

import json
import re
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from pyharness.errors import CheckFailed
from pyharness.guest.guest import Guest
from pyharness.host import children, signals
from pyharness.host.cpu_time import Clock
from pyharness.host.programs import requires
from pyharness.host.progress import Progress
from pyharness.interceptor import guest_program
from pyharness.interceptor.interface import HEADER
from pyharness.linux import cpio
from pyharness.machine import command_line
from pyharness.machine.saved_states import SavedState

_SECONDS = 240.0  # for the whole measurement, in which QEMU could run
_MEMORY = 1024  # MiB
_LINE = re.compile(r"bench: (\S+) (null|other) ([0-9.]+)")

# The states of the module in the order in which they are measured, each with a description.
STATES = {
    "base": "before load",
    "loaded": "loaded",
    "intercepted": "intercepted, nobody monitored",
    "ended": "the only monitored process has ended",
    "monitored-1": "1 other pid monitored",
    "monitored-100": "100 other pids monitored",
    "monitored-30000": "30,000 other pids monitored",
    "released": "released",
    "printk": "monitored, log=printk",
    "event-disabled": "monitored, log=event, nobody records",
    "event": "monitored, log=event, recorded",
    "event-exit": "monitored, log=event, result recorded, too",
    "ring": "monitored, log=ring, recorded",
    "ftrace-event": "the kernel's event sys_enter_getppid, recorded",
    "not-recorded": "released again",
    "all-intercepted": "all numbers intercepted, nobody monitored",
    "all-intercepted-monitored-1": "all numbers intercepted, 1 other pid monitored",
    "all-released": "all released",
    "unloaded": "after unload",
}


@dataclass(frozen=True, kw_only=True)
class Cost:
    """The cost of two system calls in one state of the module, in instructions per call.

    Attributes:
        state: the state, one of STATES.
        null: the cost of getppid(), which is intercepted in the states from ``intercepted`` to
            ``monitored-30000``; in those from ``printk`` to ``ring``, where its caller is
            monitored; and in those where all numbers are.
        other: the cost of getpgrp(), which is intercepted only where all numbers are.
    """

    state: str
    null: float
    other: float


def parse(console: str) -> list[Cost]:
    """Parse the figures that the benchmark's program printed on the console.

    Returns:
        The costs, in the order of STATES.

    Raises:
        CheckFailed: figures are missing.
    """
    found = {(state, call): float(cost) for state, call, cost in _LINE.findall(console)}
    missing = [s for s in STATES if (s, "null") not in found or (s, "other") not in found]
    if missing:
        tail = "\n".join(console.strip().splitlines()[-8:])
        raise CheckFailed(f"the benchmark did not get to {missing[0]!r}:\n{tail}")
    return [
        Cost(state=state, null=found[state, "null"], other=found[state, "other"])
        for state in STATES
    ]


def build_program(guest: Guest, module: Path) -> bytes:
    """Compile the program that measures in the guest, or return it from the cache.

    Args:
        guest: the guest.
        module: the folder with the module's source, which has the header.

    Returns:
        The program's file.

    Raises:
        CheckFailed: it does not compile.
    """
    return guest_program.build(guest, "bench", beside={HEADER: (module / HEADER).read_bytes()})


def run(saved_state: SavedState, ko: Path, program: bytes, *, progress: Progress) -> list[Cost]:
    """Measure a module in a machine of its own.

    Args:
        saved_state: the saved state of the guest whose kernel the machine runs.
        ko: the module's ``.ko`` file.
        program: the program that measures, from build_program().
        progress: shows how far the measurement is.

    Returns:
        The costs, in the order of STATES.

    Raises:
        CheckFailed: the measurement did not come to its end.
        HostError: this host lacks the QEMU for the guest's architecture.
    """
    requires(saved_state.spec.qemu)
    initrd = cpio.archive(
        [
            cpio.folder("dev"),
            cpio.folder("proc"),
            cpio.folder("sys"),
            cpio.folder("tracing"),
            cpio.character_device("dev/console", 5, 1),
            cpio.file("init", program, executable=True),
            cpio.file("interceptor.ko", ko.read_bytes()),
        ]
    )
    with tempfile.TemporaryDirectory() as name, progress.task("measuring") as task:
        folder = Path(name)
        (folder / "initrd").write_bytes(initrd)
        console = folder / "console"
        command = command_line.for_bench(
            saved_state.spec,
            saved_state.kernel,
            memory=_MEMORY,
            initrd="initrd",
            console=console.name,
        )
        with signals.ended(process := children.start(command, cwd=folder)):
            clock = Clock(process.pid, children=True)
            seen = 0
            while process.poll() is None:
                if clock() > _SECONDS:
                    process.kill()
                text = console.read_text(errors="replace") if console.exists() else ""
                done = _LINE.findall(text)
                if len(done) > seen:
                    seen = len(done)
                    task.at(seen / (2 * len(STATES)), STATES.get(done[-1][0], ""))
                time.sleep(0.1)
        return parse(console.read_text(errors="replace"))


def as_json(costs: list[Cost]) -> str:
    """Format costs as JSON: a list of objects, with figures in instructions per call."""
    return json.dumps([asdict(cost) for cost in costs], indent=2)


def as_table(costs: list[Cost]) -> str:
    """Format costs as a table: instructions per call, and the difference to before load."""
    base = costs[0]
    lines = [f"{'instructions per call':48} {'getppid':>16} {'getpgrp':>16}"]
    for cost in costs:
        null = f"{cost.null:.1f} {cost.null - base.null:+7.2f}"
        other = f"{cost.other:.1f} {cost.other - base.other:+7.2f}"
        lines.append(f"{STATES[cost.state]:48} {null:>16} {other:>16}")
    return "\n".join(lines)
