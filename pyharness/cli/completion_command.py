# SPDX-License-Identifier: GPL-2.0
"""The command that prints the script for shell completion."""

import click
from click.shell_completion import get_completion_class

_SHELLS = ("bash", "zsh", "fish")


@click.command("completion", short_help="Print a script for SHELL that completes commands.")
@click.argument("shell", type=click.Choice(_SHELLS))
@click.pass_context
def completion_command(context: click.Context, shell: str) -> None:
    """Print a script for SHELL that completes commands, options, guests and system calls.

    In bash: eval "$(pyharness completion bash)"
    """
    made = get_completion_class(shell)
    assert made is not None
    commands = context.find_root().command
    click.echo(made(commands, {}, "pyharness", "_PYHARNESS_COMPLETE").source())


COMMANDS = (completion_command,)
