# SPDX-License-Identifier: GPL-2.0
"""The command that finds the kernel's reports of trouble in a saved log; it needs no guest."""

from pathlib import Path
from typing import TextIO

import click

from pyharness.guest.build import module_name
from pyharness.guest.guest import read_module
from pyharness.host.wording import counted
from pyharness.linux import trouble
from pyharness.linux.symbolize import Symbolizer
from pyharness.linux.trouble import CodeLocation


@click.command("decode", short_help="Print the kernel's reports of trouble in a saved log.")
@click.argument("log", type=click.File(encoding="utf-8", errors="replace"))
@click.option(
    "--ko",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="the module that was loaded, built with -g: its addresses are shown as file and line",
)
def decode_command(log: TextIO, ko: Path | None) -> int:
    """Print the kernel's reports of trouble in LOG (- for standard input): panic, oops, hang ...

    LOG is the output of dmesg or of a serial console. The exit status is 1 if it has such a
    report, and 0 if it has none.
    """
    if ko:
        read_module(ko)
        lines, name = Symbolizer(ko.read_bytes()), module_name(ko)

    def line_of(location: CodeLocation) -> str:
        if ko is None or location.module != name:
            return ""
        return lines.line_in(location.function, location.offset, location.size)

    found = trouble.reports(log.read())
    for report in found:
        click.echo(f"--- {report.kind} ---\n{trouble.annotate(str(report), line_of)}\n")
    click.echo(f"{counted(len(found), 'report') if found else 'no report'} of trouble")
    return 1 if found else 0


COMMANDS = (decode_command,)
