# SPDX-License-Identifier: GPL-2.0
"""The command line: ``pyharness COMMAND``."""

import signal
import sys

import click

from pyharness.cli import guest_commands, module_commands, report_command, setup_command
from pyharness.errors import HarnessError

_EPILOG = """Exit status: 0 all is well; 1 a check failed; 2 wrong usage; 3 this host lacks
something; 4 the guest crashed or does not answer. ssh and trace return the command's own."""


@click.group(epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="pyharness")
def cli() -> None:
    """Test a system call interceptor in a real guest, from this host."""


for _command in (
    *guest_commands.COMMANDS,
    *module_commands.COMMANDS,
    *report_command.COMMANDS,
    *setup_command.COMMANDS,
):
    cli.add_command(_command)


def main() -> None:
    """Run the command line, and turn what goes wrong into a sentence and an exit status."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        status = cli.main(standalone_mode=False)
    except HarnessError as error:
        click.echo(f"pyharness: {error}", err=True)
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("pyharness: interrupted", err=True)
        sys.exit(128 + signal.SIGINT)
    sys.exit(status if isinstance(status, int) else 0)
