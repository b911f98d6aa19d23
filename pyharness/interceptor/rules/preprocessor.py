# SPDX-License-Identifier: GPL-2.0
"""Has the guest's compiler say which of a module's definitions count, by ``#if`` and its like."""

import re
from collections.abc import Callable

from pyharness.transport.ssh import Completed

# What a header of the kernel defines is not known here: no file of the module's is read by name.
_INCLUDE = re.compile(r"^[ \t]*#[ \t]*(?:include|include_next|import)\b.*$", re.MULTILINE)
# Kbuild uses the compiler that the kernel was built with, which may have a version in its name.
_LINE = (
    "build=/lib/modules/$(uname -r)/build/include/generated;"
    " for file in autoconf.h uapi/linux/version.h; do"
    ' if [ -f "$build/$file" ]; then set -- "$@" -include "$build/$file"; fi; done;'
    " for gcc in gcc $(ls /usr/bin | grep -E '^gcc-[0-9]+$'); do"
    ' if command -v "$gcc" > /dev/null; then'
    ' exec "$gcc" -E -dM -nostdinc -D__KERNEL__ -DMODULE "$@" -x c -; fi; done; exit 127'
)


def definitions(run: Callable[[str, bytes], Completed], code: str) -> str:
    """Return the lines ``#define NAME VALUE`` that count at the end of C code.

    Args:
        run: runs a command in the guest's shell, with that standard input.
        code: the texts of a module's headers and sources.

    Returns:
        The lines, or the code itself if the compiler can't tell.
    """
    alone = _INCLUDE.sub("", code)
    done = run(_LINE, alone.encode(errors="replace"))
    return code if done.status else done.stdout
