# SPDX-License-Identifier: GPL-2.0
"""What the guest's kernel holds in memory, to see that nothing is left behind."""

from contextlib import suppress

from pyharness.errors import CheckFailed, GuestError
from pyharness.guest.guest import Guest

# What the module's own objects, and those that it refers to, are made in.
CACHES = ("pid", "radix_tree_node", "task_struct", "kmalloc-512", "kmalloc-1k")
# A CPU's own slab counts as full: only what is in use is left of each by this.
_SHRINK = (
    f"cd /sys/kernel/slab; for cache in {' '.join(CACHES)} kmalloc-*; do"
    " echo 1 > $cache/shrink; done"
)
_READ = "cat /proc/slabinfo /proc/meminfo"
_KIB = ("Slab", "SUnreclaim", "KernelStack", "PageTables", "Percpu", "VmallocUsed")


def held(guest: Guest) -> dict[str, int]:
    """The objects of each of the kernel's caches, and KiB by /proc/meminfo, caches dropped.

    Raises:
        GuestError: the guest does not say.
    """
    said = guest.run(f"echo 3 > /proc/sys/vm/drop_caches; {_SHRINK}; {_READ}")
    found = {}
    for line in said.stdout.splitlines()[2:]:
        name, count, *_ = *line.split(), "", ""
        if not count.isdecimal():  # a name may have spaces
            continue
        if not name.endswith(":"):
            found[name] = int(count)
        elif name[:-1] in _KIB:
            found[name[:-1]] = int(count)
    # The last lines prove that all came; the exit status may be what a module has made of it.
    if not found.keys() >= {*_KIB}:
        raise GuestError(f"the guest does not say what its kernel holds: {said.stderr.strip()}")
    return found


def wait_back(
    guest: Guest, before: dict[str, int], *, more: dict[str, int], seconds: float = 10.0
) -> dict[str, int]:
    """Wait until the kernel holds no more than before, except for some.

    Args:
        guest: the guest.
        before: what its kernel held, as held() returned it.
        more: how much more is nothing, for each cache or figure that counts.
        seconds: how long to wait, on real hardware.

    Returns:
        What the kernel still holds in the end, beyond that: the growth of each cache or figure.

    Raises:
        GuestError: the guest does not say what its kernel holds.
    """
    grown: dict[str, int] = {}

    def is_back() -> bool:
        now = held(guest)
        grown.clear()
        for name, allowed in more.items():
            if (growth := now.get(name, 0) - before[name]) > allowed:
                grown[name] = growth
        return not grown

    with suppress(CheckFailed):
        guest.wait("memory to be given back", is_back, seconds=seconds)
    return grown
