# SPDX-License-Identifier: GPL-2.0
"""What make has printed, which stays in the guest: a makefile can print without end."""

import re
import shlex
from collections.abc import Callable

from pyharness.guest.build import NO_WARNING, WARNING, warnings_in
from pyharness.transport.ssh import Completed

_MOST_BYTES = 64 << 10  # of what is read
_MOST_COLUMNS = 1000  # of a line with a warning

# The last options that Kbuild has for a module of itself; a module's own follow. Kbuild has one -g.
KCFLAGS = "-g -g"
_HIDES = re.compile(r"-w|-Wno-(?!error)\S+")
_PRAGMA = r"^[[:blank:]]*#[[:blank:]]*pragma[[:blank:]]+GCC[[:blank:]]+(diagnostic|system_header)"

Run = Callable[[str], Completed]


def read(run: Run, file: str) -> str:
    """Return the beginning and the end of what make has printed, or all of it if it is short.

    Args:
        run: runs a command in the guest's shell.
        file: the file of the guest that has the output.
    """
    where = shlex.quote(file)
    size = int(run(f"stat -c %s {where}").check().stdout)
    if size <= _MOST_BYTES:
        return run(f"cat {where}").stdout
    half = _MOST_BYTES // 2
    begin, end = (run(f"{program} -c {half} {where}").stdout for program in ("head", "tail"))
    return f"{begin}\n(… {size - 2 * half:,} bytes left out …)\n{end}"


def warnings(run: Run, file: str) -> tuple[str, ...]:
    """Return the lines that warn of something in the module, wherever they are in the output.

    Args:
        run: runs a command in the guest's shell.
        file: the file of the guest that has the output.

    Returns:
        The first ones, 64 KiB at most. What is too long of a line is cut off.
    """
    begin, rest = (shlex.quote(pattern) for pattern in (WARNING, NO_WARNING))
    found = run(
        f"export LC_ALL=C; grep -aE {begin} {shlex.quote(file)} | grep -avE {rest}"
        f" | cut -b -{_MOST_COLUMNS} | head -c {_MOST_BYTES}"
    ).stdout
    return tuple(warnings_in(found))


def hidden(run: Run, folder: str) -> tuple[str, ...]:
    """Return a line for each of a module's own settings by which the compiler does not warn.

    Args:
        run: runs a command in the guest's shell.
        folder: the module's folder in the guest, where it was built with KCFLAGS.
    """
    where = shlex.quote(folder)
    # Kbuild keeps the compiler's command lines in these files.
    lines = run(
        f"find {where} -name '.*.o.cmd' -exec grep -ahe ' {KCFLAGS} ' {{}} +"
        f" | head -c {_MOST_BYTES << 4}"
    ).stdout.splitlines()
    pragmas = run(
        f"cd {where} && grep -raE --include='*.[ch]' '{_PRAGMA}' . | cut -b -{_MOST_COLUMNS}"
        f" | head -c {_MOST_BYTES}"
    ).stdout.splitlines()
    return (*_options(lines), *(f"{line.strip()} (hides warnings)" for line in pragmas))


def _options(lines: list[str]) -> list[str]:
    """Return a line for each option that hides warnings, by the command lines of the compiler."""
    found = []
    for words in (line.partition(f" {KCFLAGS} ")[2].split() for line in lines):
        options = [word for word in words if _HIDES.fullmatch(word)]
        if options:
            source = next((word for word in words if word.endswith(".c")), "a file")
            found.append(f"{source}: compiled with {' '.join(options)} (hides warnings)")
    return found
