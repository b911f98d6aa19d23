# SPDX-License-Identifier: GPL-2.0
"""The command that writes the files from which a student begins; it needs no guest."""

import os
from pathlib import Path

import click

from pyharness.errors import UsageError
from pyharness.host import bundled

# By name, as somebody may have built the module in that folder.
_FILES = ("Kbuild", "Makefile", "README.md", "interceptor.c", "interceptor.h")


def _write_all(folder: Path) -> None:
    """Write all files into a folder, or none.

    Raises:
        UsageError: a file of that name is there already.
    """
    if there := [name for name in _FILES if os.path.lexists(folder / name)]:
        raise UsageError(
            f"{folder} has {', '.join(there)} already, and nothing was written: name a new folder"
        )
    made: list[Path] = []
    try:
        for name in _FILES:
            with (folder / name).open("xb") as file:
                made.append(folder / name)
                file.write((bundled.STARTER / name).read_bytes())
    except BaseException:
        for path in made:
            path.unlink()
        raise


@click.command("starter", short_help="Write a starter kit for the assignment into DIR.")
@click.argument("folder", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
def starter_command(folder: Path) -> None:
    """Write a starter kit for the assignment into DIR, which is made if it is missing.

    It has a module that builds and loads, in which the parts that are yours to write are marked
    TODO, and README.md with the rules. Existing files are never overwritten.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _write_all(folder)
    click.echo(f"wrote {', '.join(_FILES)} into {folder}")
    click.echo(
        f"next: read {folder / 'README.md'}, write what {folder / 'interceptor.c'} marks TODO,"
        f" and run pyharness check {folder}"
    )


COMMANDS = (starter_command,)
