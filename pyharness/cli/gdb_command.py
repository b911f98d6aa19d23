# SPDX-License-Identifier: GPL-2.0
"""The command that debugs a guest's kernel and a module by gdb."""

from collections.abc import Sequence
from pathlib import Path

import click

from pyharness.cli import options
from pyharness.errors import GuestError, UsageError
from pyharness.guest import build
from pyharness.guest.gdb import debugger
from pyharness.guest.guest import Guest
from pyharness.guest.module_source import ModuleSource
from pyharness.guest.qemu_backend import QemuBackend
from pyharness.host.progress import TerminalProgress
from pyharness.machine import guest_specs, lifecycle

_HELP = "gdb stops it; c lets it run, Ctrl-C stops it again, quit ends gdb and lets it run on"


@click.command("gdb", short_help="Debug the guest's kernel and the module by gdb.")
@click.option(
    "--vmlinux",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="the file with the symbols of the guest's kernel  [default: that of a kernel of your own,"
    " or of the package linux-image-RELEASE-dbg]",
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[-- GDB-ARGUMENT...]")
@options.guest
@options.module
def gdb_command(guest: str, folder: Path, vmlinux: Path | None, arguments: tuple[str, ...]) -> int:
    """Stop the guest, and debug its kernel and the module by gdb; at the end the guest runs on.

    The module need not be loaded yet: a breakpoint in it, even in its init function, takes effect
    when it is. Type "c" to let the guest run, and load the module from another terminal.
    """
    if arguments and options.is_guest(arguments[0]):
        raise UsageError(f"{arguments[0]} is a guest's name: pyharness gdb --guest {arguments[0]}")
    source = ModuleSource(folder)
    spec = guest_specs.find(guest)
    debugger.program(spec.architecture)  # before a guest is made
    if machine := lifecycle.running(spec.name):
        machine.check_no_gdb()
    try:
        entered = Guest.attach(spec.name, progress=TerminalProgress())
    except GuestError as error:
        if not (machine := lifecycle.running(spec.name)):
            raise
        click.echo(f"{error}\n{spec.name} does not answer: gdb shows what it is doing", err=True)
        backend = QemuBackend(lifecycle.saved_state_of(machine), machine)
        known = build.find(source, backend.facts.headers)
        return _debug(backend, None, known.files if known else (), vmlinux, arguments)
    with entered:
        with TerminalProgress().task(f"building {folder.name}"):
            built = entered.build(folder)
        return _debug(entered.qemu, entered, built.files, vmlinux, arguments)


def _debug(
    backend: QemuBackend,
    guest: Guest | None,
    modules: Sequence[Path],
    vmlinux: Path | None,
    arguments: Sequence[str],
) -> int:
    described = debugger.describe(backend, guest, modules, vmlinux)
    for line in (f"{backend.facts}: {_HELP}", *described.messages):
        click.echo(line, err=True)
    return debugger.run(backend, described, arguments)


COMMANDS = (gdb_command,)
