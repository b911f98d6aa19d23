# SPDX-License-Identifier: GPL-2.0
"""How long the kernel takes to wait for all readers under RCU."""

from pyharness import Guest

_FOLDER = "/sys/kernel"


def expedite(guest: Guest, *, yes: bool) -> None:
    """Have a kernel with PREEMPT_RT expedite all grace periods; or none, as it does after boot."""
    values = {"rcu_normal": int(not yes), "rcu_expedited": int(yes)}
    line = " && ".join(f"echo {value} > {_FOLDER}/{name}" for name, value in values.items())
    guest.run(line).check()
