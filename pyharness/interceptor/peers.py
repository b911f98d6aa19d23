# SPDX-License-Identifier: GPL-2.0
"""Measures what recording a process's system calls costs: by this module, and by its peers.

All rows of ``inside/peers.toml`` are measured one after the other in one machine, which boots a
guest's whole system with the options that count instructions (``-icount``). ``inside/peers.py``
measures there; it gets its files on a second disk, and writes its results to a second serial port.
"""

import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from pyharness.errors import CheckFailed, UsageError
from pyharness.guest.guest import Guest
from pyharness.host import children, signals
from pyharness.host.cpu_time import Clock
from pyharness.host.programs import requires
from pyharness.host.progress import Progress, Task
from pyharness.interceptor import guest_program, peer_results
from pyharness.interceptor.peer_results import PeerCost
from pyharness.interceptor.peer_rows import PeerRow
from pyharness.machine import command_line, mmdebstrap, qemu_process
from pyharness.machine.guest_specs import GuestSpec
from pyharness.machine.saved_states import SavedState

# The guest that has the peers.
GUEST = "bench-trixie-amd64"
# Whose numbers and names of calls peers.toml has.
_ARCHITECTURE = "amd64"
# For the boot and all rows, in which QEMU could run: several times what they take on a slow host.
_SECONDS = 3600.0
_POLL_SECONDS = 0.2
_INSIDE = Path(__file__).with_name("inside")
_FILES, _RESULTS, _CONSOLE = "files.tar", "results", "console"
# How many lines of the console an error shows.
_LAST_LINES = 8
# The programs that are compiled in the guest: source, result, and the compiler's other arguments.
# One that needs a header which the guest lacks is left out.
_PROGRAMS = (
    ("peers", "calls", "-static"),
    ("scap", "scap", "$(printf -- '-I%s ' /usr/src/scap-*)"),
)


def check(spec: GuestSpec) -> None:
    """Check that a guest is one that the rows are written for.

    Raises:
        UsageError: it is not; the message names one that is.
    """
    if spec.architecture != _ARCHITECTURE:
        raise UsageError(
            f"bench --peers needs a guest of {_ARCHITECTURE}, and {spec.name} is one of"
            f" {spec.architecture}: name {GUEST}, or none"
        )


def build_programs(guest: Guest) -> dict[str, bytes]:
    """Compile the programs for the guest, or return them from the cache.

    Returns:
        The files, by name. A program that needs the headers of a package that the guest lacks is
        left out.

    Raises:
        CheckFailed: the program that measures does not compile.
    """
    found = {}
    for source, name, flags in _PROGRAMS:
        try:
            found[name] = guest_program.build(guest, source, flags)
        except CheckFailed as error:
            if "No such file or directory" not in str(error):
                raise
    return found


def module_files(ko: Path, module: Path) -> dict[str, bytes]:
    """The files of this project's module that rows use, by name.

    Args:
        ko: the module's ``.ko`` file.
        module: the folder with the module's source, which has interceptorctl.py.

    Raises:
        UsageError: a file can't be read.
    """
    ctl = module / "interceptorctl.py"
    try:
        return {"interceptor.ko": ko.read_bytes(), ctl.name: ctl.read_bytes()}
    except OSError as error:
        raise UsageError(f"{error.filename} can't be read: {error.strerror}") from error


def run(
    saved_state: SavedState,
    files: Mapping[str, bytes],
    rows: Sequence[PeerRow],
    *,
    progress: Progress,
) -> list[PeerCost]:
    """Measure rows in a machine of its own.

    Args:
        saved_state: the saved state of the guest whose image and kernel the machine boots.
        files: what the rows use, by name, from build_programs() and module_files().
        rows: the rows.
        progress: shows which row is measured.

    Returns:
        The result of each row, in their order.

    Raises:
        CheckFailed: the measurement did not come to its end.
        HostError: this host lacks the QEMU for the guest's architecture.
    """
    requires(saved_state.spec.qemu)
    packed = {
        **files,
        "peers.py": (_INSIDE / "peers.py").read_bytes(),
        "peers.json": json.dumps([asdict(row) for row in rows]).encode(),
    }
    with tempfile.TemporaryDirectory() as name, progress.task("measuring") as task:
        folder = Path(name)
        (folder / _FILES).write_bytes(mmdebstrap.archive(packed))
        (folder / _RESULTS).touch()
        qemu_process.make_overlay(folder / command_line.DISK, saved_state.image.root, "raw")
        command = command_line.for_peers(
            saved_state.spec, saved_state.kernel, files=_FILES, console=_CONSOLE, results=_RESULTS
        )
        with signals.ended(process := children.start(command, cwd=folder)):
            clock = Clock(process.pid, children=True)
            begun = -1
            while process.poll() is None:
                if clock() > _SECONDS:
                    process.kill()
                names = peer_results.begun((folder / _RESULTS).read_text())
                if len(names) > begun:
                    begun = len(names)
                    _show(task, names, rows)
                time.sleep(_POLL_SECONDS)
        try:
            return peer_results.parse((folder / _RESULTS).read_text(), rows)
        except CheckFailed as error:
            console = (folder / _CONSOLE).read_text(errors="replace")
            tail = "\n".join(console.strip().splitlines()[-_LAST_LINES:])
            raise CheckFailed(f"{error}; the guest's console ends with:\n{tail}") from error


def _show(task: Task, begun: Sequence[str], rows: Sequence[PeerRow]) -> None:
    """Show which row is being measured."""
    titles = {row.name: row.title for row in rows}
    if begun:
        task.at((len(begun) - 1) / len(rows), titles.get(begun[-1], begun[-1]))
    else:
        task.at(0.0, "booting")
