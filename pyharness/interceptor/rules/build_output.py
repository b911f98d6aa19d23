# SPDX-License-Identifier: GPL-2.0
"""What make has printed, which stays in the guest: a makefile can print without end."""

import shlex
from collections.abc import Callable

from pyharness.guest.build import NO_WARNING, WARNING, warnings_in
from pyharness.transport.ssh import Completed

_MOST_BYTES = 64 << 10  # of what is read
_MOST_COLUMNS = 1000  # of a line with a warning

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
