# SPDX-License-Identifier: GPL-2.0
"""The command line: ``pyharness COMMAND``."""

import sys
from typing import Any

import click

from pyharness.cli import (
    bench_command,
    check_command,
    completion_command,
    coverage_command,
    decode_command,
    gdb_command,
    guest_commands,
    module_commands,
    outcome,
    setup_command,
    starter_command,
    streams,
    trace_command,
)
from pyharness.host import signals

_EPILOG = """Exit status: 0 success; 1 a check failed, or the module refused a command; 2 wrong
usage; 3 this host lacks something; 4 the guest crashed or does not answer; 128 + N signal N ended
the command. ssh, trace, coverage, gdb and setup return the exit status of the program that they
run."""


class _Commands(click.Group):
    """The group of all commands; an expected error ends one with an exit status and a sentence."""

    def invoke(self, context: click.Context) -> Any:
        """Run a command, and return its exit status, also if an expected error ended it."""
        try:
            return super().invoke(context)
        except (click.ClickException, click.exceptions.Exit):
            raise
        except BaseException as error:
            if (ended := outcome.of(error)) is None:
                raise
            signals.drop_dead_streams()
            status, sentence = ended
            if sentence:
                click.echo(f"pyharness: {sentence}", err=True)
            return status


@click.group(
    cls=_Commands, epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"]}
)
@click.version_option(None, "--version", "-V", package_name="pyharness")
def cli() -> None:
    """Run guests on this host, and test a kernel module that intercepts system calls in them."""


for _command in (
    *guest_commands.COMMANDS,
    *module_commands.COMMANDS,
    *trace_command.COMMANDS,
    *bench_command.COMMANDS,
    *check_command.COMMANDS,
    *decode_command.COMMANDS,
    *coverage_command.COMMANDS,
    *gdb_command.COMMANDS,
    *setup_command.COMMANDS,
    *starter_command.COMMANDS,
    *completion_command.COMMANDS,
):
    cli.add_command(_command)


def main() -> None:
    """Run the command line, and exit with its exit status."""
    streams.set_up()
    signals.install()
    try:
        status = cli.main(standalone_mode=False, prog_name="pyharness")
    except click.ClickException as error:
        signals.drop_dead_streams()
        error.show()
        status = error.exit_code
    except (click.Abort, KeyboardInterrupt) as error:  # outside of _Commands.invoke()
        status, _ = outcome.of(error.__cause__ or error) or (1, "")
    finally:
        streams.flush()
    sys.exit(status if isinstance(status, int) else 0)
