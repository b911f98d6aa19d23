# SPDX-License-Identifier: GPL-2.0
"""Commands that check this host, and manage its guests."""

import json
import os
import shlex
import signal
from contextlib import suppress

import click
import psutil

from pyharness.cli import doctor, options
from pyharness.errors import GuestError, UsageError
from pyharness.guest.guest import Guest
from pyharness.host import cache, signals
from pyharness.host.programs import environment, requires
from pyharness.host.progress import TerminalProgress
from pyharness.host.wording import counted
from pyharness.machine import guest_specs as known_guests
from pyharness.machine import image, in_use, kernel_source, lifecycle, snapshots
from pyharness.machine.qemu_process import Machine

_MOST_CPUS = 64
# MiB. With less, a guest's kernel has no room for its initial file system.
_LEAST_MEMORY = 256
# Where a guest runs that this process can't reach.
_ELSEWHERE = "in another container or on another host"
# For each state of a guest whose QEMU does not run, the word for it, and what up does.
_RESTING = {
    "suspended": ("suspended", "resumes it"),
    "off": ("off", "starts it"),
    "crashed": ("ended", "starts a new one, as its state is lost"),
}


@click.command("doctor", short_help="Check what this host lacks for guests, and name the fix.")
@options.each_guest
def doctor_command(guest: str) -> int:
    """Check that this host has everything that guests need, and name a fix for what is missing."""
    lacks = 0
    for finding in doctor.examine(known_guests.find(guest)):
        lacks += not finding.good
        fix = f"  → {finding.fix}" if finding.fix else ""
        click.echo(
            f"{'ok     ' if finding.good else 'MISSING'}  {finding.what}: {finding.result}{fix}"
        )
    if lacks:
        click.echo(f"this host lacks {lacks} of what {guest} needs", err=True)
        return 3
    click.echo(f"this host can run {guest}")
    return 0


@click.command("list", short_help="List the known guests, their images, and what runs.")
def list_command() -> None:
    """List the known guests, and for each its image, and whether it runs."""
    for spec in known_guests.load().values():
        made = image.find(spec)
        state = f"image of kernel {made.release} ({made.version})" if made else "no image yet"
        if spec.kernel_source:
            own = kernel_source.find(spec)
            state = f"kernel {own.release}, built" if own else "kernel not built yet"
        if (machine := lifecycle.find_persistent(spec.name)) and machine.alive:
            state += ", runs" if machine.here else f", runs {_ELSEWHERE}"
        click.echo(
            f"{spec.name:24} {spec.architecture:6} {spec.suite:18} {spec.dispatch:8} {state}"
        )


@click.command("up", short_help="Start a guest; make its image first if there is none.")
@click.option(
    "--cpus",
    type=click.IntRange(1, _MOST_CPUS),
    metavar="N",
    help="the number of CPUs  [default: as the guest's description says]",
)
@click.option(
    "--memory",
    type=click.IntRange(_LEAST_MEMORY, psutil.virtual_memory().total >> 20),
    metavar="MIB",
    help="the memory in MiB  [default: as the guest's description says]",
)
@options.kernel
@options.each_guest
def up_command(guest: str, cpus: int | None, memory: int | None) -> None:
    """Start a guest, or resume one that is suspended or off; make its image if there is none."""
    _refuse_others(guest, cpus, memory)
    already = lifecycle.running(guest) is not None
    with Guest.attach(guest, cpus=cpus, memory=memory, progress=TerminalProgress()) as entered:
        port = entered.qemu.machine.port
        runs = "runs already" if already else "is up"
        if entered.qemu.saved_state.image != image.find(known_guests.find(guest)):
            runs += f" (from an older image: pyharness reset {guest} renews it)"
        ssh = "pyharness ssh" + f" --guest {guest}" * (guest != known_guests.DEFAULT_GUEST)
        click.echo(f"{entered.describe()}: {runs}, SSH on 127.0.0.1:{port} ({ssh})")


def _refuse_others(guest: str, cpus: int | None, memory: int | None) -> None:
    """Make sure that the machine of a guest, if there is one, is as it is wanted.

    Args:
        guest: the guest's name.
        cpus: the number of CPUs that is wanted; None: any.
        memory: the memory that is wanted, in MiB; None: any.

    Raises:
        UsageError: it has another size, or its kernel has other options.
    """
    wanted = known_guests.find(guest, cpus=cpus, memory=memory)
    state, machine = lifecycle.state_of(guest), lifecycle.find_persistent(guest)
    if machine is None or (state == "crashed" and not machine.alive):
        return
    has = lifecycle.saved_state_of(machine).spec
    if (cpus or has.cpus, memory or has.memory) != (has.cpus, has.memory):
        raise UsageError(
            f"{guest} is {state} with {counted(has.cpus, 'CPU')} and {has.memory} MiB of memory:"
            f" end it by pyharness down {guest} to start one with others"
        )
    for variable, what, different in (
        (known_guests.KERNEL_VARIABLE, "another kernel", has.own_kernel != wanted.own_kernel),
        (
            known_guests.OPTIONS_VARIABLE,
            f"the kernel options {has.kernel_options!r}",
            has.kernel_options != wanted.kernel_options,
        ),
    ):
        if variable in os.environ and different:
            raise UsageError(
                f"{guest} is {state} with {what}: end it by pyharness down {guest} to start one"
                " with others"
            )


@click.command("down", short_help="End a guest and discard its state.")
@click.option(
    "--all", "everything", is_flag=True, help="also end machines that other runs are using"
)
@options.each_guest
def down_command(guest: str, everything: bool) -> None:
    """End a guest and discard its state, and end machines that interrupted runs left behind."""
    ended = 0
    resting = lifecycle.find_persistent(guest)
    if resting and not resting.alive:
        lifecycle.end(resting)
        click.echo(f"discarded the state of {guest}, which was not running")
        ended += 1
    for machine in lifecycle.all_machines():
        its_own = machine.folder.name == guest
        if its_own or (machine.here and (machine.orphaned or everything)):
            lifecycle.end(machine)
            click.echo(f"ended {machine.folder.name} (process {machine.pid})")
            ended += 1
    lifecycle.sweep()
    if not ended:
        click.echo(f"{guest} does not run")


@click.command("reset", short_help="Reset a guest to its state right after boot.")
@options.each_guest
def reset_command(guest: str) -> None:
    """Reset a guest to its state right after boot, whatever state it is in."""
    if machine := lifecycle.find_persistent(guest):
        lifecycle.end(machine)
    with Guest.attach(guest, progress=TerminalProgress()) as entered:
        click.echo(f"{entered.describe()}: as it was booted")


def _running(guest: str) -> Machine:
    machine = lifecycle.running(known_guests.find(guest).name)
    if machine is None:
        raise UsageError(f"{guest} does not run: pyharness up {guest} starts it")
    return machine


@click.command("suspend", short_help="Save a guest's state to the disk; up resumes it.")
@options.each_guest
def suspend_command(guest: str) -> None:
    """Save a guest's state to the disk and end its machine; up resumes it where it was."""
    with signals.held():  # an interruption could leave the guest stopped, but not saved
        lifecycle.suspend(_running(guest))
    click.echo(f"{guest} is suspended: pyharness up {guest} resumes it")


@click.command("halt")
@options.each_guest
def halt_command(guest: str) -> None:
    """Shut a guest down and keep its disk; up boots it again.

    A guest that is suspended loses its memory, as by a power cut.
    """
    if lifecycle.state_of(guest) == "suspended":
        lifecycle.discard_memory(guest)
        click.echo(f"{guest} is off, and its memory is lost: pyharness up {guest} starts it")
        return
    machine = _running(guest)
    timeout_factor = lifecycle.saved_state_of(machine).accel.timeout_factor
    with signals.held():  # a guest that shuts down unnoticed is taken for a crashed one
        lifecycle.switch_off(machine, seconds=30 * timeout_factor)
    click.echo(f"{guest} is off: pyharness up {guest} starts it")


@click.group("snapshot", short_help="Save and restore named states of a running guest.")
def snapshot_command() -> None:
    """Save the state of a running guest under a name, and restore it."""


def _snapshot(name: str, about: str, done: str) -> None:
    """Define a command about one named snapshot.

    Args:
        name: the command's name, a key of ``snapshots.COMMANDS``.
        about: its help text.
        done: the message when it is done; ``{}`` stands for the snapshot's name.
    """

    def give(guest: str, snapshot: str) -> None:
        machine = _running(guest)
        with signals.held():  # QEMU stops the guest for as long as the command takes
            snapshots.COMMANDS[name](machine, snapshot)
        click.echo(f"{guest}: {done.format(snapshot)}")

    snapshot_command.add_command(
        click.command(name, help=about)(click.argument("snapshot")(options.guest(give)))
    )


_snapshot("save", "Save the guest's state as SNAPSHOT.", "saved as {}")
_snapshot("restore", "Restore SNAPSHOT.", "restored from {}")
_snapshot("delete", "Delete SNAPSHOT.", "{} deleted")


@snapshot_command.command("list")
@options.named_guest
def snapshot_list_command(guest: str) -> None:
    """List the guest's snapshots, the oldest first."""
    for name in snapshots.names(_running(guest)):
        click.echo(name)


@click.command("status", short_help="Show which guests run, are suspended or off, or crashed.")
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="print each guest that runs, is suspended or off, or crashed, as JSON",
)
@options.named_guests
def status_command(guests: tuple[str, ...], as_json: bool) -> None:
    """Show which of the named guests, or of all, run, are suspended or off, or have crashed."""
    states = {name: lifecycle.state_of(name) for name in guests or known_guests.load()}
    if as_json:
        click.echo(json.dumps([_facts(name, s) for name, s in states.items() if s != "absent"]))
        return
    running = [m for m in lifecycle.all_machines() if not guests or m.guest in guests]
    for machine in running:
        belongs = f"of process {machine.owner}" if machine.owner else "stays until down"
        reached = f"SSH port {machine.port}, QEMU {machine.pid}, {belongs}"
        click.echo(
            f"{machine.folder.name:32} {machine.status():10} {machine.accel:4}"
            f" {reached if machine.here else _ELSEWHERE}"
        )
    up = {machine.folder.name for machine in running}
    resting = {name: _RESTING[s] for name, s in states.items() if s in _RESTING and name not in up}
    for name, (state, what_next) in resting.items():
        click.echo(f"{name:32} {state:10} pyharness up {name} {what_next}")
    if not running and not resting:
        said = f"{', '.join(guests)} does not run" if guests else "no guest runs"
        start = " ".join(["pyharness up", *guests])
        click.echo(f"{said} ({start} starts {'it' if len(guests) == 1 else 'one'})")


@click.command(
    "ssh",
    short_help="Open a root shell in the guest, or run COMMAND there.",
    context_settings={"allow_interspersed_args": False},
)
@options.guest
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def ssh_command(guest: str, command: tuple[str, ...]) -> None:
    """Open a root shell in the guest, or run COMMAND there with its streams and exit status.

    COMMAND is run as it is, without a shell. A COMMAND of a single word is passed to the guest's
    shell, so it can be a whole command line in quotes.
    """
    requires("ssh")
    known_guests.find(guest)
    if len(command) == 1 and options.is_guest(command[0]):
        raise UsageError(f"{command[0]} is a guest's name: pyharness ssh --guest {command[0]}")
    machine = _up(guest)
    made = lifecycle.saved_state_of(machine).image
    # ssh splits paths at spaces and expands "%" and "~" in them, so it runs in the machine's
    # folder, and gets plain names there.
    known, key = "known_hosts", "id"
    with cache.as_host_error():
        (machine.folder / known).write_text(
            f"[127.0.0.1]:{machine.port} {made.host_key}\n", encoding="ascii"
        )
        if not (machine.folder / key).is_symlink():
            (machine.folder / key).symlink_to(image.user_key())
    line = [
        "ssh", "-F", "none", "-i", key, "-p", str(machine.port),
        "-o", f"UserKnownHostsFile={known}", "-o", "IdentitiesOnly=yes", "-o", "LogLevel=ERROR",
        "root@127.0.0.1",
    ]  # fmt: skip
    if command:
        line += ["--", command[0] if len(command) == 1 else shlex.join(command)]
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # ssh would inherit Python's SIG_IGN
    os.chdir(machine.folder)
    os.execvpe(line[0], line, environment())


@click.command("console", short_help="Open the root shell on the guest's serial console.")
@options.named_guest
def console_command(guest: str) -> None:
    """Open the guest's serial console, a root shell that needs no network. Ctrl-] leaves."""
    machine = _up(guest)
    click.echo(f"the serial console of {guest}; Ctrl-] leaves", err=True)
    with machine.console() as console:
        console.interact()
    click.echo("", err=True)


def _facts(guest: str, state: str) -> dict[str, object]:
    """Return the facts that a program needs to connect to a guest by SSH, for JSON."""
    machine = lifecycle.find_persistent(guest)
    runs = machine is not None and state == "running"
    elsewhere = machine is not None and runs and not machine.here
    known = machine if runs and not elsewhere else None
    return {
        "guest": guest,
        "state": state,
        "elsewhere": elsewhere,
        "born": _born(machine) if machine else None,
        "host": None if elsewhere else "127.0.0.1",
        "port": known.port if known else None,
        "user": "root",
        "key": str(image.user_key()),
        "host_key": _host_key(known) if known else None,
    }


def _host_key(machine: Machine) -> str | None:
    """Return the public key of a guest's SSH server; None if what it was started from is gone."""
    with suppress(GuestError):
        return lifecycle.saved_state_of(machine).image.host_key
    return None


def _born(machine: Machine) -> float:
    """Return when a machine was first started from the saved state, in seconds since the epoch."""
    return (machine.folder / in_use.STARTED_FROM).lstat().st_mtime


def _up(guest: str) -> Machine:
    """Return the guest's machine, started if it does not run."""
    if machine := lifecycle.running(guest):
        return machine
    with Guest.attach(known_guests.find(guest).name, progress=TerminalProgress()) as entered:
        return entered.qemu.machine


COMMANDS = (
    doctor_command,
    list_command,
    up_command,
    down_command,
    halt_command,
    suspend_command,
    snapshot_command,
    reset_command,
    status_command,
    ssh_command,
    console_command,
)
