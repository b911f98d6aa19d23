# SPDX-License-Identifier: GPL-2.0
"""The command that installs the programs that this host lacks."""

import os

import click

from pyharness.host import bundled
from pyharness.host.programs import environment


@click.command("setup", short_help="Install the programs that this host lacks.")
@click.argument("uses", nargs=-1, metavar="[arm64 | browser | debug | lint | vagrant]...")
def setup_command(uses: tuple[str, ...]) -> None:
    """Install the programs that this host lacks to make and run guests.

    It runs the distribution's package manager, by sudo if necessary. arm64 adds what guests of
    that architecture need; vagrant adds what the Vagrantfile needs; debug adds gdb; lint adds the
    style checkers; browser adds the browser for the tests. "pyharness doctor" shows what guests
    lack.
    """
    os.execvpe("sh", ["sh", str(bundled.VM / "host-setup"), *uses], environment())


COMMANDS = (setup_command,)
