# SPDX-License-Identifier: GPL-2.0
"""The commands that check a module by the rules of the assignment, and list the rules."""

import os
import random
from collections.abc import Callable
from pathlib import Path

import click

from pyharness.cli import check_class, options, standard_output
from pyharness.errors import UsageError
from pyharness.host.progress import TerminalProgress
from pyharness.host.writable import can_write
from pyharness.interceptor.rules import catalogue, checking, scheme, submission
from pyharness.interceptor.rules.reports import (
    gradescope,
    html_student,
    json_report,
    junit,
    markus,
    text,
)
from pyharness.interceptor.rules.reports.redaction import Redaction
from pyharness.interceptor.rules.settings import Settings
from pyharness.interceptor.rules.verdict import Report, Verdict

# The formats that are written to standard output, in place of text for a person.
_PRINTED = {"json": json_report.document, "gradescope": gradescope.document}
_FILES: dict[str, Callable[[Report], str]] = {
    "junit": junit.document,
    "html": html_student.page,
}
# How many rules are decided at the same time. The build comes first and alone, so that more guests
# would save little.
_AT_ONCE = 2
_SCHEME = click.option(
    "--scheme",
    "scheme_name",
    default=scheme.DEFAULT,
    show_default=True,
    metavar="NAME|FILE.toml",
    help=f"the points of each rule, and what is right where the handout allows several: one of"
    f" {', '.join(scheme.shipped())}, or a file",
)


@click.command("check", short_help="Check a module by the assignment's rules, and give it marks.")
@click.argument(
    "submission_path",
    metavar="[DIR]",
    type=click.Path(exists=True, path_type=Path),
    required=False,
)
@click.option(
    "--class",
    "class_path",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="check each sub-folder and archive in FOLDER, instead of DIR",
)
@click.option(
    "-n",
    "--workers",
    "count",
    type=click.IntRange(1),
    metavar="N",
    help="with --class: check N modules at a time  [default: half of the CPUs]",
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="with --class: write the results to DIR, and keep those in it that are still valid"
    "  [default: FOLDER-marks]",
)
@click.option(
    "--scheduler",
    metavar="tcp://HOST:PORT",
    help="with --class: have the workers of this Dask scheduler check",
)
@click.option(
    "--guest",
    default=checking.GUEST,
    show_default=True,
    metavar="NAME",
    help="the guest",
    shell_complete=options.complete_guest,
)
@_SCHEME
@click.option(
    "--only",
    multiple=True,
    metavar="RULE",
    help="decide this rule, and those that it depends on; can be repeated",
)
@click.option(
    "--seed",
    type=click.IntRange(0, check_class.MOST_SEED),
    metavar="N",
    help="the seed for the random arguments  [default: a random one]",
)
@click.option("--json", "as_json", is_flag=True, help="print a JSON object instead of text")
@click.option("--gradescope", "as_gradescope", is_flag=True, help="print Gradescope's results.json")
@click.option(
    "--markus", "as_markus", is_flag=True, help="print a JSON object per rule, for MarkUs"
)
@click.option(
    "--junit", type=click.Path(path_type=Path), metavar="FILE.xml", help="write JUnit XML"
)
@click.option(
    "--html",
    type=click.Path(path_type=Path),
    metavar="FILE.html",
    help="write a page for a browser",
)
def check_command(
    *,
    submission_path: Path | None,
    class_path: Path | None,
    count: int | None,
    out: Path | None,
    scheduler: str | None,
    guest: str,
    scheme_name: str,
    only: tuple[str, ...],
    seed: int | None,
    as_json: bool,
    as_gradescope: bool,
    as_markus: bool,
    junit: Path | None,
    html: Path | None,
) -> int:
    """Check a module by the rules of the assignment, and give it marks.

    DIR is the module's folder, or an archive of it; without one, the current folder. The exit
    status is 0 if the module keeps each rule that earns points, 1 if not, and 2 or more if it
    could not be checked.

    With --class, the modules of a class are checked. The exit status is 0 if all could be checked,
    whatever they earn. If it was interrupted, run the same command again to resume.
    """
    _check_options(
        class_path,
        alone=any((submission_path, as_json, as_gradescope, as_markus, junit, html)),
        of_class=any((count, out, scheduler)),
    )
    settings = Settings(
        guest=guest,
        scheme=scheme.load(scheme_name, catalogue.IDS),
        seed=random.randrange(check_class.MOST_SEED) if seed is None else seed,
        only=only,
    )
    if class_path:
        return check_class.check_class(
            class_path,
            settings=settings,
            seed=seed,
            count=count,
            out=out,
            scheduler=scheduler,
        )
    submission_path = submission_path or Path()
    if as_json + as_gradescope + as_markus > 1:
        raise UsageError("--json, --gradescope and --markus exclude each other: choose one")
    submission.find(submission_path)
    files = {"junit": junit, "html": html}
    for kind, path in files.items():
        if path:
            can_write(path, f"--{kind}")
    if junit and html and junit.resolve() == html.resolve():
        raise UsageError(f"--junit and --html both name {html}: choose another file for one")
    redaction = Redaction(rule.id for rule in settings.rules if rule.id in settings.scheme.hidden)
    printer = _printer(as_json or as_gradescope, as_markus, redaction)
    count = min(_AT_ONCE, os.cpu_count() or 1)
    with checking.Checker(submission_path, settings, TerminalProgress(), count) as checker:
        try:
            checked = checker.check(decided=printer)
        except BaseException:
            _write(files, checker.report("the check was interrupted"))
            raise
    report = checked.report
    _write(files, report)
    if as_markus:
        if end := markus.end(report):
            click.echo(end)
    elif as_json or as_gradescope:
        click.echo(_PRINTED["json" if as_json else "gradescope"](report))
    else:
        standard_output.console().print(text.end_text(report), soft_wrap=True)
    return checked.status or int(not report.passed)


def _check_options(class_path: Path | None, *, alone: bool, of_class: bool) -> None:
    """Check that the options that are given are all for one module, or all for a class."""
    if class_path and alone:
        raise UsageError(
            "--class writes results of its own: leave out DIR, --json, --gradescope, --markus,"
            " --junit and --html"
        )
    if of_class and not class_path:
        raise UsageError("--workers, --out and --scheduler are for a class: name it by --class")


def _printer(quiet: bool, as_markus: bool, redaction: Redaction) -> Callable[[Verdict], None]:
    """Return what prints each verdict as it is decided."""
    if as_markus:
        return lambda verdict: click.echo(markus.line(verdict, redaction))
    if quiet:
        return lambda _verdict: None
    console = standard_output.console()
    return lambda verdict: console.print(
        text.verdict_text(redaction.verdict(verdict)), soft_wrap=True
    )


def _write(files: dict[str, Path | None], report: Report) -> None:
    for kind, path in files.items():
        if path:
            path.write_text(_FILES[kind](report), encoding="utf-8")


@click.command("rules", short_help="List the rules by which modules are checked.")
@_SCHEME
def rules_command(*, scheme_name: str) -> None:
    """List the rules by which modules are checked: id, points, and the rule itself."""
    chosen = scheme.load(scheme_name, catalogue.IDS)
    for rule in catalogue.chosen((), chosen.without):
        points = chosen.points.get(rule.id, rule.points)
        click.echo(f"{rule.id:20} {points:4g}  {rule.title}")


COMMANDS = (check_command, rules_command)
