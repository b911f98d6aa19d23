# SPDX-License-Identifier: GPL-2.0
"""The command that debugs a guest's kernel and a module by gdb."""

from pathlib import Path

import click

from pyharness.cli import options
from pyharness.guest.gdb import debugger
from pyharness.guest.guest import Guest
from pyharness.guest.module_source import ModuleSource
from pyharness.host.progress import TerminalProgress
from pyharness.machine import guest_specs, lifecycle


@click.command(
    "gdb",
    short_help="Debug the guest's kernel and the module by gdb.",
    context_settings={"ignore_unknown_options": True},
)
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
    ModuleSource(folder)
    spec = guest_specs.find(guest)
    debugger.program(spec.architecture)  # before a guest is made
    if machine := lifecycle.running(spec.name):
        machine.check_no_gdb()
    with Guest.attach(spec.name, progress=TerminalProgress()) as entered:
        with TerminalProgress().task(f"building {folder.name}"):
            built = entered.build(folder)
        described = debugger.describe(entered, built.files, vmlinux)
        click.echo(
            f"{entered.describe()}: gdb stops it; c lets it run, Ctrl-C stops it again, quit ends"
            " gdb and lets it run on"
            + ("" if described.kernel else f"\n{_NO_SYMBOLS.format(entered.facts.release)}"),
            err=True,
        )
        return debugger.run(entered, described, arguments)


_NO_SYMBOLS = (
    "gdb knows the kernel's functions, but not its lines and variables, which linux-image-{}-dbg"
    " or --vmlinux FILE adds"
)
COMMANDS = (gdb_command,)
