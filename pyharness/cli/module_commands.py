# SPDX-License-Identifier: GPL-2.0
"""Commands that build, load and use the module in a guest."""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from pyharness import interceptor
from pyharness.cli import options
from pyharness.errors import UsageError
from pyharness.guest.build import Built
from pyharness.guest.guest import Guest, inspect, read_module
from pyharness.guest.module_source import ModuleSource
from pyharness.guest.qemu_backend import facts_of
from pyharness.guest.result import Result
from pyharness.host import signals
from pyharness.host.progress import TerminalProgress
from pyharness.host.wording import counted
from pyharness.interceptor import call_log, recorded_calls
from pyharness.interceptor import demo as demonstration
from pyharness.linux.kmsg import Record
from pyharness.linux.syscalls import INT_LEAST, INT_MOST, SyscallRef, Syscalls
from pyharness.machine import guest_specs, lifecycle, saved_states

# Any number that fits into an int: the module itself refuses those that are no process's.
_PROCESS = click.IntRange(INT_LEAST, INT_MOST)
# Where the module records calls: the kernel log has them by printk and both.
_CHANNEL = "/sys/module/interceptor/parameters/log"


def _enter(guest: str) -> Guest:
    return Guest.attach(guest_specs.find(guest).name, progress=TerminalProgress())


def _build(entered: Guest, folder: Path) -> Built:
    with TerminalProgress().task(f"building {folder.name} in the guest") as task:
        task.at(0.1, "make")
        return entered.build(folder)


@click.command("build")
@click.option("--anew", is_flag=True, help="build even if the cache has the result for this source")
@options.named_guest
@options.module
def build_command(guest: str, folder: Path, anew: bool) -> None:
    """Build the module with the guest's compiler, with warnings on (W=1 C=1)."""
    ModuleSource(folder)
    with _enter(guest) as entered:
        built = entered.build(folder, anew=True) if anew else _build(entered, folder)
    for warning in built.warnings:
        click.echo(warning)
    how = "was built already" if built.cached else "built"
    for ko in built.files:
        click.echo(f"{ko}: {how}, {counted(len(built.warnings), 'warning')}")


@click.command("inspect", short_help="Check that the guest would load a module.")
@click.argument("ko", type=click.Path(path_type=Path), required=False)
@options.guest
@options.module
def inspect_command(guest: str, folder: Path, ko: Path | None) -> None:
    """Check that the guest would load KO, or else the module, built first; print its properties."""
    if ko:
        read_module(ko)  # an error shows before a guest is made
    else:
        ModuleSource(folder)
    machine = lifecycle.running(guest_specs.find(guest).name)
    if ko is None:
        with _enter(guest) as entered:
            ko, facts = _build(entered, folder).ko, entered.facts
    elif machine:
        facts = facts_of(lifecycle.saved_state_of(machine))
    else:
        saved_state = saved_states.ensure(guest_specs.find(guest), progress=TerminalProgress())
        facts = facts_of(saved_state)
    module = inspect(ko, facts)
    for field, values in module.info.items():
        for value in values:
            click.echo(f"{field + ':':14} {value}")
    click.echo(f"{'symbols:':14} uses {len(module.undefined)} of the kernel's")
    click.echo(f"{'lines:':14} {'known' if module.has_lines else 'not known (built without -g)'}")
    click.echo(f"{ko}: {guest} can load it")


@click.command("load", short_help="Build and load the module, and prove that its hooks work.")
@click.argument("parameters", nargs=-1, metavar="[NAME=VALUE]...")
@options.guest
@options.module
def load_command(guest: str, folder: Path, parameters: tuple[str, ...]) -> None:
    """Build, check and load the module, and prove that its hooks work."""
    for parameter in parameters:
        if not re.match(r"\w[\w.-]*=", parameter, re.ASCII):
            like_guest = f", or --guest {parameter}" * options.is_guest(parameter)
            raise UsageError(
                f"{parameter!r} is not a parameter of a module: write NAME=VALUE{like_guest}"
            )
    ModuleSource(folder)
    with _enter(guest) as entered:
        _build(entered, folder)
        with signals.held() as interruption:
            module = interceptor.load(entered, folder, **dict(p.split("=", 1) for p in parameters))
            try:
                interruption()
            except KeyboardInterrupt:
                module.unload()
                raise
        click.echo(
            f"{module.name} is loaded in {entered.describe()}: system call"
            f" {module.interface.custom_syscall} takes commands, exit_group calls are logged"
        )


@click.command("unload")
@options.named_guest
@options.module
def unload_command(guest: str, folder: Path) -> None:
    """Unload the module."""
    name = ModuleSource(folder).name
    with _enter(guest) as entered:
        interceptor.attach(entered, folder, name).unload()
        entered.health.check()
    click.echo(f"{name} is unloaded")


def _show_result(call: SyscallRef, result: Result) -> int:
    if result.errno:
        said = f"{result.value} {result.error} ({os.strerror(result.errno)})"
    else:
        said = str(result.value)
    click.echo(f"{call} ({call.number}): {said}")
    return 1 if result.errno else 0


def _four(name: str, about: str, *, has_pid: bool) -> click.Command:
    """Make a command that issues one of the module's four commands.

    Args:
        name: the command's name, which is also that of the method of Interceptor.
        about: its help text.
        has_pid: whether it takes the argument PID.
    """

    def issue(guest: str, folder: Path, user: str, syscall: str, pid: int = 0) -> int:
        call = Syscalls(guest_specs.find(guest).syscalls).ref(syscall)
        loaded = ModuleSource(folder).name
        with _enter(guest) as entered:
            module = interceptor.attach(entered, folder, loaded)
            issued: Callable[..., Result] = getattr(module, name)
            arguments = (call, pid) if has_pid else (call,)
            return _show_result(call, issued(*arguments, by=entered.actor(user)))

    decorated: Any = click.argument("pid", type=_PROCESS)(issue) if has_pid else issue
    decorated = click.argument("syscall", shell_complete=options.complete_syscalls)(decorated)
    for option in (options.as_user, options.module, options.guest):
        decorated = option(decorated)
    command: click.Command = click.command(
        name, help=about, context_settings={"ignore_unknown_options": has_pid}
    )(decorated)
    return command


_PID = "PID 0 stands for all processes."
intercept_command = _four("intercept", "Intercept SYSCALL.", has_pid=False)
release_command = _four("release", "Release SYSCALL: end its interception.", has_pid=False)
start_command = _four("start", f"Start to log the calls of SYSCALL by PID. {_PID}", has_pid=True)
stop_command = _four("stop", f"Stop logging the calls of SYSCALL by PID. {_PID}", has_pid=True)


@click.command("log", short_help="Print the calls that the module logged.")
@click.option("--follow", "-f", is_flag=True, help="continue with calls as they are logged")
@click.option(
    "--json", "as_json", is_flag=True, help="print each call as a JSON object on one line"
)
@options.named_guest
def log_command(guest: str, follow: bool, as_json: bool) -> None:
    """Print the calls that the module logged: time, sequence number, pid, call and arguments.

    Where the module records calls by log=event or log=ring, --follow prints those that are recorded
    from then on, without sequence numbers.
    """
    with _enter(guest) as entered:
        channel = entered.run(["cat", _CHANNEL]).stdout.strip()
        if channel not in ("event", "ring"):
            _show_log(entered, follow=follow, as_json=as_json)
        elif follow:
            _show_recorded(entered, as_json=as_json)
        else:
            _show_log(entered, follow=False, as_json=as_json)
            click.echo(
                f"pyharness: log={channel}, so that calls are not in the kernel log now: print them"
                " as they come by --follow, or load the module with log=printk",
                err=True,
            )


def _show_log(entered: Guest, *, follow: bool, as_json: bool) -> None:
    """Print the calls in the kernel log, and note how many of its records are missing."""
    log, noted = entered.log, 0

    def show(record: Record) -> None:
        if call := call_log.parse(record, entered.syscalls):
            time = f"{record.microseconds / 1e6:12.6f}"
            click.echo(call.as_json() if as_json else f"{time} #{record.sequence} {call}")

    def note() -> None:
        nonlocal noted
        if log.lost > noted:
            _note_overwritten(counted(log.lost - noted, "record"))
            noted = log.lost

    records = log.fetch()
    if records and records[0].sequence:  # the kernel's first record has number 0
        _note_overwritten(f"the first {counted(records[0].sequence, 'record')}")
    for record in records:
        show(record)
    note()
    if follow:
        for record in log.follow(waiting=signals.check_output):
            note()
            show(record)


def _note_overwritten(records: str) -> None:
    click.echo(
        f"pyharness: calls may be missing: the kernel overwrote {records} of its log", err=True
    )


def _show_recorded(entered: Guest, *, as_json: bool) -> None:
    """Print the calls that the module records elsewhere, as they come."""

    def note(count: int) -> None:
        calls = counted(count, "call") if count else "some calls"
        click.echo(f"pyharness: {calls} were overwritten before they could be read", err=True)

    for call in recorded_calls.follow(entered, lost=note, waiting=signals.check_output):
        time = f"{call.microseconds / 1e6:12.6f}"
        click.echo(call.as_json() if as_json else f"{time} {call}")


@click.command("demo", short_help="Demonstrate the module, step by step, in a guest of its own.")
@options.named_guest
@options.module
def demo_command(guest: str, folder: Path) -> int:
    """Demonstrate the module, from build to unload, step by step, in a guest of its own."""
    ModuleSource(folder)
    return demonstration.run(guest_specs.find(guest).name, folder, TerminalProgress(), click.echo)


COMMANDS = (
    build_command,
    inspect_command,
    load_command,
    unload_command,
    intercept_command,
    release_command,
    start_command,
    stop_command,
    log_command,
    demo_command,
)
