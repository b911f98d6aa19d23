# SPDX-License-Identifier: GPL-2.0
"""Options and arguments that several commands share, and their shell completion."""

import functools
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from pyharness.errors import HarnessError, UsageError
from pyharness.guest.module_source import ModuleSource
from pyharness.host import bundled
from pyharness.linux.syscalls import Syscalls
from pyharness.machine import guest_specs
from pyharness.machine.guest_specs import DEFAULT_GUEST

# The function of a command, which click decorates.
_Function = Callable[..., Any]


def _default_module() -> Path:
    try:
        return ModuleSource(Path("module")).folder
    except UsageError:
        return bundled.MODULE


# ---- shell completion ----


def _beginning(words: Iterable[str], incomplete: str) -> list[CompletionItem]:
    return [CompletionItem(word) for word in words if word.startswith(incomplete)]


def complete_guest(
    context: click.Context, _parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Complete the name of a guest; leave out those that the command line has already."""
    named = context.params.get("names") or ()
    try:
        return _beginning([name for name in guest_specs.load() if name not in named], incomplete)
    except HarnessError:
        return []


def complete_syscalls(
    context: click.Context, _parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Complete the name of a system call of the guest; in a list with commas, the last one."""
    before, comma, _ = incomplete.rpartition(",")
    try:
        known = Syscalls(guest_specs.find(context.params.get("guest") or DEFAULT_GUEST).syscalls)
    except HarnessError:
        return []
    begun = before + comma
    return _beginning((begun + name for name in sorted(known.numbers)), incomplete)


# ---- which guest ----


guest = click.option(
    "--guest",
    default=DEFAULT_GUEST,
    show_default=True,
    metavar="NAME",
    help="the guest  [PYHARNESS_GUEST names another default]",
    shell_complete=complete_guest,
)
_same_guest = click.option(
    "--guest", metavar="NAME", help="the same as GUEST", shell_complete=complete_guest
)


def named_guest(function: _Function) -> _Function:
    """Decorate a command with an argument and an option for one guest.

    The function gets the name as ``guest``; without one, the name of the default guest.
    """

    @_argument(nargs=1)
    @_same_guest
    @functools.wraps(function)
    def command(*args: Any, guest: str | None, names: str | None, **options: Any) -> Any:
        (chosen,) = _chosen(guest, () if names is None else (names,)) or (_default(),)
        return function(*args, guest=chosen, **options)

    return command


def optional_guest(function: _Function) -> _Function:
    """Decorate a command with an argument and an option for one guest.

    The function gets the name as ``guest``; without one, None.
    """

    @_argument(nargs=1)
    @_same_guest
    @functools.wraps(function)
    def command(*args: Any, guest: str | None, names: str | None, **options: Any) -> Any:
        chosen = _chosen(guest, () if names is None else (names,))
        return function(*args, guest=chosen[0] if chosen else None, **options)

    return command


def named_guests(function: _Function) -> _Function:
    """Decorate a command with arguments for any number of guests, and an option for one.

    The function gets their names as ``guests``, each once; an empty tuple if none is named.
    """

    @_argument(nargs=-1)
    @_same_guest
    @functools.wraps(function)
    def command(*args: Any, guest: str | None, names: tuple[str, ...], **options: Any) -> Any:
        return function(*args, guests=_chosen(guest, names), **options)

    return command


def kernel(function: _Function) -> _Function:
    """Decorate a command with options for the guest's kernel and for its command line."""

    @click.option(
        "--kernel",
        "kernels",
        multiple=True,
        type=click.Path(exists=True, path_type=Path),
        metavar="PATH",
        help="the kernel that the guest boots instead of its own: the folder in which one was"
        " built, or the .deb files of a kernel and of its headers, one --kernel option for each"
        " file",
    )
    @click.option(
        "--kernel-options", metavar="WORDS", help="add these words to the kernel's command line"
    )
    @click.option(
        "--memory-debug",
        is_flag=True,
        help="switch on the memory checks that a distribution's kernel has",
    )
    @functools.wraps(function)
    def command(
        *args: Any,
        kernels: tuple[Path, ...],
        kernel_options: str | None,
        memory_debug: bool,
        **options: Any,
    ) -> Any:
        guest_specs.choose_kernel(kernels)
        guest_specs.add_kernel_options(kernel_options, memory_debug=memory_debug)
        return function(*args, **options)

    return command


def each_guest(function: _Function) -> _Function:
    """Decorate a command with arguments for guests, and run it for each, or for the default one.

    The function gets one name as ``guest``, and the command's exit status is the highest of all.
    """

    @named_guests
    @functools.wraps(function)
    def command(*args: Any, guests: tuple[str, ...], **options: Any) -> int:
        chosen = guests or (_default(),)
        return max(function(*args, guest=name, **options) or 0 for name in chosen)

    return command


def _argument(nargs: int) -> Callable[[_Function], _Function]:
    return click.argument(
        "names",
        metavar="[GUEST]" if nargs == 1 else "[GUEST]...",
        nargs=nargs,
        required=False,
        shell_complete=complete_guest,
    )


def _default() -> str:
    return guest_specs.find(DEFAULT_GUEST).name


def _chosen(option: str | None, names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the guests that the option and the arguments name, each once.

    Raises:
        UsageError: a guest is unknown, or the option and the arguments differ.
    """
    if option is not None and names and set(names) != {option}:
        raise UsageError(f"--guest {option} and {' '.join(names)}: name the guest once")
    chosen = tuple(dict.fromkeys(names)) or (() if option is None else (option,))
    for name in chosen:
        guest_specs.find(name)
    return chosen


def is_guest(word: str) -> bool:
    """Return whether a word is the name of a guest."""
    return word in guest_specs.load()


# ---- the rest ----

module = click.option(
    "--module",
    "folder",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=_default_module,
    metavar="DIR",
    help="the module's folder  [default: ./module, or the one that comes with pyharness]",
)
as_user = click.option(
    "--as",
    "user",
    default="root",
    show_default=True,
    metavar="USER",
    help="run as this user of the guest",
)
