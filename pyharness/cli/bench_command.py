# SPDX-License-Identifier: GPL-2.0
"""The command that measures what this module and others cost a system call."""

from pathlib import Path

import click

from pyharness.cli import options
from pyharness.errors import UsageError
from pyharness.guest.build import Built
from pyharness.guest.guest import Guest, read_module
from pyharness.guest.module_source import ModuleSource
from pyharness.host.progress import Progress, TerminalProgress
from pyharness.host.writable import can_write
from pyharness.interceptor import bench, peer_plot, peer_results, peer_rows, peers
from pyharness.interceptor.peer_rows import PeerRow
from pyharness.machine import guest_specs


def _build(entered: Guest, folder: Path, progress: Progress) -> Built:
    with progress.task(f"building {folder.name} in the guest") as task:
        task.at(0.1, "make")
        return entered.build(folder)


def _enter(guest: str, progress: Progress) -> Guest:
    return Guest.attach(guest_specs.find(guest).name, progress=progress)


def _measure_states(guest: str, folder: Path, progress: Progress) -> list[bench.Cost]:
    with _enter(guest, progress) as entered:
        built = _build(entered, folder, progress)
        program = bench.build_program(entered, folder)
    return bench.run(entered.qemu.saved_state, built.ko, program, progress=progress)


def _measure_peers(
    guest: str, folder: Path, rows: list[PeerRow], progress: Progress, *, named: bool
) -> list[peer_results.PeerCost]:
    with _enter(guest, progress) as entered:
        built = _build(entered, folder, progress)
        parameters = read_module(built.ko).parameters
        if named:
            peer_rows.check_parameters(rows, parameters)
        files = peers.build_programs(entered)
    rows = peer_rows.applicable(rows, parameters)
    return peers.run(
        entered.qemu.saved_state,
        files | peers.module_files(built.ko, folder),
        rows,
        progress=progress,
    )


@click.command("bench", short_help="Measure the cost of a call, in instructions of the guest.")
@click.option("--json", "as_json", is_flag=True, help="print JSON instead of a table")
@click.option(
    "--peers",
    "with_peers",
    is_flag=True,
    help="compare with other ways to record a process's calls:"
    f" ftrace, perf, strace, auditd …  [guest: {peers.GUEST}]",
)
@click.option(
    "--only",
    multiple=True,
    metavar="PEER",
    help="with --peers: measure this one alone; can be repeated",
)
@click.option(
    "--plot",
    type=click.Path(path_type=Path),
    metavar="FILE.svg",
    help="with --peers: also draw the result (needs matplotlib)",
)
@options.optional_guest
@options.module
def bench_command(
    *,
    guest: str | None,
    folder: Path,
    as_json: bool,
    with_peers: bool,
    only: tuple[str, ...],
    plot: Path | None,
) -> int:
    """Measure the cost of an intercepted call, in instructions of the guest."""
    ModuleSource(folder)
    progress = TerminalProgress()
    if not with_peers:
        if only or plot:
            raise UsageError(f"{'--only' if only else '--plot'} needs --peers")
        states = _measure_states(guest or guest_specs.DEFAULT_GUEST, folder, progress)
        click.echo(bench.as_json(states) if as_json else bench.as_table(states))
        return 0
    peers.check(guest_specs.find(guest or peers.GUEST))
    rows = peer_rows.chosen(peer_rows.load(), only)
    if plot:
        peer_plot.check(plot)
        can_write(plot, "--plot")
    costs = _measure_peers(guest or peers.GUEST, folder, rows, progress, named=bool(only))
    click.echo(peer_results.as_json(costs) if as_json else peer_results.as_table(costs))
    if plot:
        peer_plot.draw(costs, plot, title="What recording a process's system call costs")
    return 0


COMMANDS = (bench_command,)
