# SPDX-License-Identifier: GPL-2.0
"""The command that reports which code of modules a command has run."""

import subprocess
import tempfile
from pathlib import Path

import click

from pyharness.errors import HostError, UsageError
from pyharness.guest import coverage, coverage_report
from pyharness.host import signals
from pyharness.host.programs import environment, exit_status


@click.command(
    "coverage",
    short_help="Report which code of modules a command runs.",
    context_settings={"ignore_unknown_options": True},
)
@click.option(
    "--format",
    "formats",
    type=click.Choice([*coverage_report.FORMATS]),
    multiple=True,
    default=("term",),
    help="term prints a table; the others write files  [default: term]",
)
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("module-coverage"),
    show_default=True,
    metavar="DIR",
    help="the folder for the files",
)
@click.option(
    "--fail-under",
    type=click.FloatRange(0, 100),
    metavar="PERCENT",
    help="fail if a smaller percentage of the lines has run",
)
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def coverage_command(
    formats: tuple[str, ...], output: Path, fail_under: float | None, command: tuple[str, ...]
) -> int:
    """Run COMMAND, and report which code of the modules that it builds and loads has run.

    COMMAND is a program that uses guests, such as pytest or pyharness itself. The exit status is
    that of COMMAND, or 128 + N if signal N ended it; if it is 0, but too few lines have run, it is
    1. Modules whose source is not in the current folder are left out.
    """
    coverage_report.check()
    with tempfile.TemporaryDirectory(prefix="pyharness-") as name:
        folder = Path(name)
        try:
            process = subprocess.Popen(command, env=environment(**{coverage.VARIABLE: name}))
        except OSError as error:
            raise HostError(f"{command[0]} can't be run: {error.strerror}") from error
        with signals.ended(process, gently=True):
            status = exit_status(process.wait())
        try:
            text, enough = coverage_report.write(
                folder, Path(), formats, output, fail_under=fail_under
            )
        except UsageError as error:
            if not status:
                raise
            text, enough = f"{error}\n", True
        click.echo(text, nl=False)
        for path in coverage_report.files(output):
            click.echo(f"written: {path}{'/index.html' if path.is_dir() else ''}")
    if not enough:
        click.echo(f"fewer than {fail_under:g} % of the lines have run", err=True)
    return status or int(not enough)


COMMANDS = (coverage_command,)
