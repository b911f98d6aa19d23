# SPDX-License-Identifier: GPL-2.0
"""What the guest's kernel holds in memory, to see that nothing is left behind."""

from pyharness import CheckFailed, Guest

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
    """The objects of each of the kernel's caches, and KiB by /proc/meminfo, caches dropped."""
    said = guest.run(f"echo 3 > /proc/sys/vm/drop_caches; {_SHRINK}; {_READ}").check()
    found = {}
    for line in said.stdout.splitlines()[2:]:
        name, count, *_ = line.split()
        if not name.endswith(":"):
            found[name] = int(count)
        elif name[:-1] in _KIB:
            found[name[:-1]] = int(count)
    return found


def wait_back(
    guest: Guest, before: dict[str, int], *, more: dict[str, int], seconds: float = 10.0
) -> None:
    """Wait until the kernel holds no more than before, but for some.

    Args:
        guest: whose kernel.
        before: what it held.
        more: for each cache or figure that is looked at, how much more is none.
        seconds: how long, on real hardware.

    Raises:
        CheckFailed: it never does.
    """
    grown: dict[str, int] = {}

    def is_back() -> bool:
        now = held(guest)
        grown.clear()
        for name, allowed in more.items():
            if now[name] - before[name] > allowed:
                grown[name] = now[name] - before[name]
        return not grown

    try:
        guest.wait("memory to be given back", is_back, seconds=seconds)
    except CheckFailed as error:
        raise CheckFailed(f"the kernel holds more than before: {grown}") from error
