# SPDX-License-Identifier: GPL-2.0
"""Reads what the guest knows of the arguments of its system calls.

The kernel describes their parameters in tracefs, and the constants are those of the C headers that
its compiler finds. So both are right for the guest's architecture, whatever this host's is.
"""

from collections.abc import Iterable

from pyharness.guest.guest import Guest
from pyharness.linux import prototypes
from pyharness.linux.argument_names import HEADERS
from pyharness.linux.call_arguments import CallArguments
from pyharness.linux.constants import Constants
from pyharness.linux.syscalls import SyscallRef

_TRACING = "/sys/kernel/tracing"
# Both parts may be missing: a kernel without CONFIG_FTRACE_SYSCALLS, a guest without a compiler.
_SCRIPT = """\
[ -d {tracing}/events ] || mount -t tracefs none {tracing}
cd {tracing}/events/syscalls && cat $(printf "{prefix}%s/format " {names})
gcc -E -dD -x c - | grep -E '^#define [A-Z_]|^ *[A-Z_]+ = '
true"""
_INCLUDE = "#if __has_include(<{0}>)\n#include <{0}>\n#endif\n"


def read(guest: Guest, calls: Iterable[SyscallRef]) -> CallArguments:
    """Return what shows the arguments of system calls as strace does.

    Args:
        guest: the guest.
        calls: the system calls.

    Raises:
        GuestError: the guest does not answer.
    """
    names = dict.fromkeys(name for call in calls for name in prototypes.functions(call.name))
    includes = "".join(map(_INCLUDE.format, HEADERS))
    script = _SCRIPT.format(tracing=_TRACING, prefix=prototypes.PREFIX, names=" ".join(names))
    lines = guest.run(f"{{ {script}\n}} 2>/dev/null", stdin=includes.encode()).stdout.splitlines()
    return CallArguments(prototypes.parse(lines), Constants(lines))
