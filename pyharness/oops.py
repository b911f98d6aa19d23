# SPDX-License-Identifier: GPL-2.0
"""What a kernel says when it is in trouble, found in its log. Pure."""

import re

# The first line of each kind of report, as the kernel's own code prints it.
_BEGIN = re.compile(
    r"BUG: |Oops: |Oops - |WARNING: CPU: |WARNING: possible |WARNING: suspicious RCU"
    r"|Kernel panic - not syncing|general protection fault|double fault|invalid opcode: "
    r"|kernel BUG at |Unable to handle kernel |traps: PANIC|PANIC: double fault"
    r"|watchdog: BUG: |INFO: task .* blocked for more than|INFO: rcu_\w+ .*(?:stall|detected)"
    r"|rcu: INFO: rcu_\w+ .*(?:stall|detected)|unregister_netdevice: waiting"
    r"|Bad page state|list_(?:add|del) corruption|stack-protector: "
    r"|refcount_t: |kernel stack overflow|scheduling while atomic|Slab .*objects remaining"
)
_END = re.compile(r"---\[ end (?:trace|Kernel panic)|</TASK>")
_STAMP = re.compile(r"^(?:<\d+>)?\[ *\d+\.\d+\](?:\[[ CT]*\d+\])? ?")
_LINES = 60


def plain(line: str) -> str:
    """A line of the kernel log without the time that stands before it."""
    return _STAMP.sub("", line.rstrip("\r"))


def is_trouble(text: str) -> bool:
    """Whether a message of the kernel begins a report of trouble."""
    return bool(_BEGIN.search(text))


def reports(text: str) -> list[str]:
    """The reports of trouble in a log, each with the lines that belong to it.

    Args:
        text: a saved log or a serial console's output.
    """
    found: list[list[str]] = []
    open_report = False
    for line in text.splitlines():
        message = plain(line)
        if is_trouble(message):
            if not open_report:
                found.append([])
            open_report = True
        if open_report:
            found[-1].append(message)
            if _END.search(message) or len(found[-1]) >= _LINES:
                open_report = False
    return ["\n".join(lines) for lines in found]
