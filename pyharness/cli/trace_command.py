# SPDX-License-Identifier: GPL-2.0
"""The command that runs a program in the guest, and shows its system calls, signals and end."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import click

from pyharness import interceptor
from pyharness.cli import options
from pyharness.errors import CheckFailed, HarnessError, UsageError
from pyharness.guest.guest import Guest
from pyharness.guest.module_source import ModuleSource
from pyharness.guest.undoing import undone
from pyharness.host import signals
from pyharness.host.progress import TerminalProgress
from pyharness.host.writable import can_write
from pyharness.interceptor import Interceptor, call_facts, perfetto
from pyharness.interceptor import trace as tracing
from pyharness.interceptor.call_counts import Counts
from pyharness.interceptor.traced import Traced, line, time_of_day
from pyharness.interceptor.traced_call import TracedCall
from pyharness.linux.call_arguments import Shown, registers
from pyharness.linux.syscalls import Syscalls
from pyharness.machine import guest_specs


class _OptionsBeforeCommand(click.Command):
    """A command whose options end where the program that it runs begins.

    So ``trace mkdir sh -c …`` passes ``-c`` on to ``sh``, though ``trace`` has such an option.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the options before the first argument, and those before the second one."""
        options_before, rest = self._split(args)
        options_between, program = self._split(rest[1:])
        ordered = [*options_before, *options_between, "--", *rest[:1], *program]
        return super().parse_args(ctx, ordered)

    def _split(self, args: list[str]) -> tuple[list[str], list[str]]:
        """Return the options that the arguments begin with, and the rest without a ``--``."""
        valued = {
            name
            for option in self.params
            if isinstance(option, click.Option) and not (option.is_flag or option.count)
            for name in option.opts
        }
        number = 0
        while number < len(args) and args[number].startswith("-") and args[number] not in "--":
            number += 2 if args[number] in valued else 1
        rest = args[number:]
        return args[:number], rest[1:] if rest[:1] == ["--"] else rest


def _load(entered: Guest, folder: Path, name: str) -> Interceptor | None:
    """Load the module; return None if another command has just loaded it."""
    try:
        return interceptor.load(entered, folder)
    except UsageError:
        if not entered.is_loaded(name):
            raise
        return None


def _unload(entered: Guest, module: Interceptor) -> None:
    """Unload the module, unless another command has done so."""
    try:
        module.unload()
    except CheckFailed:
        if entered.is_loaded(module.name):
            raise


@contextmanager
def _loaded(entered: Guest, folder: Path, name: str) -> Iterator[Interceptor]:
    """Yield the module; if it is not loaded, load it for the ``with`` block."""
    if entered.is_loaded(name):
        yield interceptor.attach(entered, folder, name)
        return
    with TerminalProgress().task(f"building {folder.name} in the guest") as task:
        task.at(0.1, "make")
        entered.build(folder)
    with signals.held() as interruption:
        module = _load(entered, folder, name)
        if module is None:
            yield interceptor.attach(entered, folder, name)
            return
        with undone(partial(_unload, entered, module)):
            interruption()
            yield module


class _Report:
    """What is printed and written of a command."""

    def __init__(self, *, count: bool, took: bool, time: int, file: Path | None) -> None:
        self.shown: Shown = registers
        self._counts = Counts() if count else None
        self._took = took
        self._clock: Callable[[int], str] | None = None
        if time:
            self._clock = partial(time_of_day, fraction=time > 1)
        self._file = file
        self._traced: list[Traced] = []
        self._any = False

    def add(self, traced: Traced) -> None:
        """Print what has happened; if calls are counted, count them instead."""
        self._any = True
        if self._file:
            self._traced.append(traced)
        if not self._counts:
            text = line(traced, shown=self.shown, clock=self._clock, took=self._took)
            click.echo(text, err=True)
        elif isinstance(traced, TracedCall):
            self._counts.add(traced)

    @contextmanager
    def complete(self) -> Iterator[None]:
        """Write the file and print the table at the end of a block, also if an exception ends it.

        They are left out if it is an error before there is anything to show.

        Raises:
            UsageError: the file can't be written, and the block has raised no exception.
        """
        try:
            yield
        except BaseException as error:
            if self._any or not isinstance(error, HarnessError):
                signals.drop_dead_streams()  # a broken pipe may be the reason
                try:
                    self._end()
                except UsageError as other:
                    click.echo(f"pyharness: {other}", err=True)
            raise
        self._end()

    def _end(self) -> None:
        """Write the file, and print the table.

        Raises:
            UsageError: the file can't be written.
        """
        if self._file:
            try:
                self._file.parent.mkdir(parents=True, exist_ok=True)
                self._file.write_text(perfetto.document(self._traced), encoding="utf-8")
            except OSError as error:
                raise UsageError(
                    f"--perfetto: {self._file} can't be written: {error.strerror}"
                ) from error
        if self._counts:
            click.echo(self._counts.table(), err=True)


@click.command(
    "trace", cls=_OptionsBeforeCommand, short_help="Run COMMAND in the guest, and print its calls."
)
@click.argument(
    "syscalls", metavar="SYSCALL[,SYSCALL...]", shell_complete=options.complete_syscalls
)
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@click.option("--follow", "-f", is_flag=True, help="show child processes, too")
@click.option("-c", "count", is_flag=True, help="print a table of counts and times at the end")
@click.option("-T", "took", is_flag=True, help="print the time inside each call, in seconds")
@click.option("-t", "time", count=True, help="print the time of day; -tt: with microseconds")
@click.option("--raw", is_flag=True, help="print the argument registers, in hexadecimal")
@click.option(
    "--perfetto",
    "file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="also write a trace that ui.perfetto.dev opens",
)
@options.as_user
@options.guest
@options.module
def trace_command(
    *,
    guest: str,
    folder: Path,
    user: str,
    syscalls: str,
    command: tuple[str, ...],
    follow: bool,
    count: bool,
    took: bool,
    time: int,
    raw: bool,
    file: Path | None,
) -> int:
    """Run COMMAND in the guest, and print its calls to standard error while it runs.

    A call is printed with its result when it returns, and with its arguments as strace shows them;
    strings and structures are shown as their addresses. Signals and the end of COMMAND are printed
    as well, as strace prints them. COMMAND uses the standard streams of this
    command, which exits with its exit status. Options end where COMMAND begins. If the module is
    not loaded, it is loaded before, and unloaded afterwards.
    """
    if file:
        can_write(file, "--perfetto")
    given = {"-f": follow, "-c": count, "-T": took, "-t": time, "--perfetto": file}
    table = Syscalls(guest_specs.find(guest).syscalls)
    calls = [table.ref(name) for name in syscalls.split(",")]
    loaded = ModuleSource(folder).name
    report = _Report(count=count, took=took, time=time, file=file)
    with (
        Guest.attach(guest_specs.find(guest).name, progress=TerminalProgress()) as entered,
        _loaded(entered, folder, loaded) as module,
        report.complete(),
    ):
        if not (raw or count):
            report.shown = call_facts.read(entered, calls)
        return tracing.trace(
            entered,
            module,
            calls,
            command,
            user=user,
            show=report.add,
            note=lambda sentence: click.echo(f"pyharness: {sentence}", err=True),
            follow=follow,
            needs=", ".join(option for option, value in given.items() if value),
        )


COMMANDS = (trace_command,)
