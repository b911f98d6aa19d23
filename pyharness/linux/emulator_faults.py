# SPDX-License-Identifier: GPL-2.0
"""Recognises a crash that the emulator caused, not the kernel or a module. Pure.

QEMU before 8.0 computes the flags of ``cmpxchg8b`` and ``cmpxchg16b`` wrong (its TCG's
``helper_cmpxchg8b()`` reads a ``cc_op`` that the translated code has not stored yet). If the CPU is
interrupted before and directly after such an instruction, an operand of an addition before it gets
into EFLAGS: the kernel, whose slab allocator uses the instruction for each object, then crashes in
the next interrupt, or QEMU itself ends by an assertion.
"""

import re

# EFLAGS in a kernel's dump of the registers, whose first line has the instruction pointer. A line
# that only has a value of EFLAGS is any module's.
_EFLAGS = re.compile(
    r"^[ER]IP: .*\n(?:.*\n){0,8}?"
    r"(?:DS: [0-9a-f]{4} .*SS: [0-9a-f]{4}|RSP: [0-9a-f]{4}:[0-9a-f]{16})"
    r" EFLAGS: (?P<value>[0-9a-f]{8,16})\b",
    re.MULTILINE,
)
# The bits of EFLAGS that are always 0 (Intel SDM, volume 1, section 3.4.3).
_ALWAYS_0 = ~0x003F_7FD7
_ASSERTION = re.compile(r"^ERROR:\S+\.c:\d+:\w+: assertion failed.*", re.MULTILINE)


def flags_fault(report: str) -> str:
    """Find CPU flags in a kernel's report that no CPU can have.

    Args:
        report: the report of a crash on x86.

    Returns:
        The sentence that says so; empty if the flags are possible, or the report has no dump of
        the registers.
    """
    for found in _EFLAGS.finditer(report):
        if int(found["value"], 16) & _ALWAYS_0:
            return (
                f"no CPU can have these flags, EFLAGS {found['value']}: QEMU's emulation is wrong"
                " (cmpxchg8b before QEMU 8.0)"
            )
    return ""


def assertion(output: str) -> str:
    """Find the failed assertion by which QEMU has ended.

    Args:
        output: what QEMU itself has printed; a guest's console may have any text.

    Returns:
        The sentence that says so; empty if QEMU has ended otherwise.
    """
    found = _ASSERTION.search(output)
    return f"QEMU has ended by a fault of its own: {found[0]}" if found else ""
