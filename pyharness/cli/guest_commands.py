# SPDX-License-Identifier: GPL-2.0
"""Commands about this host and its guests."""

import json
import os
import shlex

import click

from pyharness import doctor, guests, image, machines, paths, snapshots
from pyharness.cli import options
from pyharness.console import Console
from pyharness.errors import UsageError
from pyharness.guest import Guest
from pyharness.host import environment, requires
from pyharness.progress import Terminal
from pyharness.qemu import Machine


@click.command("doctor")
@options.guest
def doctor_command(guest: str) -> int:
    """What this host can do, and the mend for each lack."""
    lacks = 0
    for finding in doctor.examine(guests.find(guest)):
        lacks += not finding.good
        mend = f"  → {finding.mend}" if finding.mend else ""
        click.echo(f"{'ok  ' if finding.good else 'LACK'}  {finding.what}: {finding.said}{mend}")
    if lacks:
        click.echo(f"this host lacks {lacks} of what {guest} needs", err=True)
        return 3
    click.echo(f"this host can run {guest}")
    return 0


@click.command("list")
def list_command() -> None:
    """The guests there are, and how far each is made."""
    for spec in guests.load().values():
        made = image.find(spec)
        state = f"image of kernel {made.release} ({made.version})" if made else "no image yet"
        if machines.running(spec.name):
            state += ", runs"
        click.echo(f"{spec.name:24} {spec.architecture:6} {spec.suite:18} {spec.way:8} {state}")


@click.command("up")
@click.option("--cpus", default=0, metavar="N", help="how many CPUs, if not as many as usual")
@click.option("--memory", default=0, metavar="MIB", help="how much memory, likewise")
@options.guest
def up_command(guest: str, cpus: int, memory: int) -> None:
    """Start a guest, or go on with one that rests; makes its image first if there is none."""
    guests.find(guest)
    already = machines.running(guest) is not None
    with Guest.attach(guest, cpus=cpus, memory=memory, teller=Terminal()) as entered:
        port = entered.machine.port
        runs = "runs already" if already else "is up"
        if entered.frozen.image != image.find(guests.find(guest)):
            runs += " (from an older image: pyharness reset renews it)"
        click.echo(f"{entered.describe()}: {runs}, SSH on 127.0.0.1:{port} (pyharness ssh)")


@click.command("down")
@click.option("--all", "everything", is_flag=True, help="also those that other runs use now")
@options.guest
def down_command(guest: str, everything: bool) -> None:
    """End a guest, and whatever interrupted runs left behind."""
    guests.find(guest)
    ended = 0
    resting = machines.stays(guest)
    if resting and not resting.alive:
        machines.end(resting)
        click.echo(f"gave up {guest}, which did not run")
        ended += 1
    for machine in machines.all_machines():
        its_own = machine.folder.name == guest
        if its_own or machine.orphaned or everything:
            machines.end(machine)
            click.echo(f"ended {machine.folder.name} (process {machine.pid})")
            ended += 1
    machines.sweep()
    if not ended:
        click.echo(f"{guest} does not run")


@click.command("reset")
@options.guest
def reset_command(guest: str) -> None:
    """Put a guest back to how it was right after its boot, whatever its state."""
    guests.find(guest)
    if machine := machines.stays(guest):
        machines.end(machine)
    with Guest.attach(guest, teller=Terminal()) as entered:
        click.echo(f"{entered.describe()}: as it was booted")


def _running(guest: str) -> Machine:
    machine = machines.running(guests.find(guest).name)
    if machine is None:
        raise UsageError(f"{guest} does not run: pyharness up")
    return machine


@click.command("suspend")
@options.guest
def suspend_command(guest: str) -> None:
    """Save a guest's state and end it; up goes on where it was."""
    machines.suspend(_running(guest))
    click.echo(f"{guest} is suspended: pyharness up goes on with it")


@click.command("halt")
@options.guest
def halt_command(guest: str) -> None:
    """Switch a guest off; what is on its disk is there again after up."""
    machine = _running(guest)
    slowness = machines.frozen_of(machine).accel.slowness
    machines.switch_off(machine, seconds=30 * slowness)
    click.echo(f"{guest} is off: pyharness up starts it")


@click.group("snapshot")
def snapshot_command() -> None:
    """Take a running guest's state under a name, and go back to it."""


def _snapshot(name: str, about: str, done: str) -> None:
    """One of the commands about a snapshot that is named."""

    def give(guest: str, snapshot: str) -> None:
        machine = _running(guest)
        snapshots.COMMANDS[name](machine, snapshot)
        click.echo(f"{guest}: {done.format(snapshot)}")

    snapshot_command.add_command(
        click.command(name, help=about)(click.argument("snapshot")(options.guest(give)))
    )


_snapshot("save", "Take the guest's state as SNAPSHOT.", "is kept as {}")
_snapshot("restore", "Go back to SNAPSHOT.", "is as it was in {}")
_snapshot("delete", "Forget SNAPSHOT.", "{} is forgotten")


@snapshot_command.command("list")
@options.guest
def snapshot_list_command(guest: str) -> None:
    """The guest's snapshots, the oldest first."""
    for name in snapshots.names(_running(guest)):
        click.echo(name)


@click.command("status")
@click.option("--json", "as_json", is_flag=True, help="each guest that is up or resting, as JSON")
def status_command(*, as_json: bool) -> None:
    """The guests that run."""
    if as_json:
        known = {spec: machines.state_of(spec) for spec in guests.load()}
        click.echo(json.dumps([_facts(name, s) for name, s in known.items() if s != "absent"]))
        return
    running = machines.all_machines()
    for machine in running:
        belongs = f"of process {machine.owner}" if machine.owner else "stays until down"
        click.echo(
            f"{machine.folder.name:32} {machine.status():10} {machine.accel:4}"
            f" SSH port {machine.port}, QEMU {machine.pid}, {belongs}"
        )
    if not running:
        click.echo("no guest runs (pyharness up starts one)")


@click.command("ssh", context_settings={"ignore_unknown_options": True})
@options.guest
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def ssh_command(guest: str, command: tuple[str, ...]) -> None:
    """A root shell in the guest, or COMMAND there with its streams and exit status.

    COMMAND is run as it is; a single word goes to the guest's shell, which may
    find a whole line in it.
    """
    requires("ssh")
    guests.find(guest)
    machine = _up(guest)
    made = machines.frozen_of(machine).image
    # ssh splits paths at spaces and expands "%" and "~" in them: it is given names in the folder
    # that it runs in.
    known, key = "known_hosts", "id"
    with paths.as_host_error():
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
    os.chdir(machine.folder)
    os.execvpe(line[0], line, environment())


@click.command("console")
@options.guest
def console_command(guest: str) -> None:
    """The guest's serial console, live: a root shell that needs no network. Ctrl-] leaves."""
    machine = _running(guest)
    click.echo(f"the serial console of {guest}; Ctrl-] leaves", err=True)
    with Console(machine) as console:
        console.interact()
    click.echo("", err=True)


def _facts(guest: str, state: str) -> dict[str, object]:
    """What a program must know to enter a guest."""
    machine = machines.stays(guest)
    known = machine and state == "running"
    return {
        "guest": guest,
        "state": state,
        "host": "127.0.0.1",
        "port": machine.port if machine and known else None,
        "user": "root",
        "key": str(image.user_key()),
        "host_key": machines.frozen_of(machine).image.host_key if machine and known else None,
    }


def _up(guest: str) -> Machine:
    """The guest's machine, started if it does not run."""
    if machine := machines.running(guest):
        return machine
    with Guest.attach(guest, teller=Terminal()) as entered:
        return entered.machine


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
