# SPDX-License-Identifier: GPL-2.0
"""Faults that a guest's kernel injects into system calls: requests for memory that fail."""

from collections.abc import Iterator
from itertools import count

from pyharness.errors import CheckFailed, UsageError
from pyharness.guest.actor import Actor
from pyharness.guest.arguments import Argument
from pyharness.guest.guest import Guest
from pyharness.guest.result import Result
from pyharness.linux.syscalls import SyscallRef

# A call that still fails after so many different requests for memory failed does not end.
_MOST = 1000
# Also requests of the kernel that may sleep fail, of any size; the log does not show each.
_SETTINGS = {
    "failslab/ignore-gfp-wait": "N",
    "failslab/verbose": "0",
    "fail_page_alloc/ignore-gfp-wait": "N",
    "fail_page_alloc/ignore-gfp-highmem": "N",
    "fail_page_alloc/min-order": "0",
    "fail_page_alloc/verbose": "0",
}


class Faults:
    """The faults of one guest."""

    def __init__(self, guest: Guest) -> None:
        """Switch the faults on; none is injected before of_call() asks for one.

        Raises:
            UsageError: the guest's kernel can't inject them.
        """
        if "FAILSLAB" not in guest.facts.kernel_options:
            raise UsageError(
                f"the kernel of {guest.describe()} can't have requests for memory fail: it lacks"
                " CONFIG_FAILSLAB. Take a debug guest, and mark the test"
                ' debug_kernel("FAILSLAB")'
            )
        debug = "/sys/kernel/debug"
        guest.run(
            f"mountpoint -q {debug} || mount -t debugfs none {debug};"
            + "".join(
                f" [ ! -e {debug}/{file} ] || echo {value} > {debug}/{file} || exit;"
                for file, value in _SETTINGS.items()
            )
        ).check()

    def of_call(
        self, actor: Actor, call: str | int | SyscallRef, *args: Argument
    ) -> Iterator[Result]:
        """Issue a system call until none of its requests for memory failed.

        The first time, the first request fails; the second time, the second one; and so on.

        >>> for result in fail_allocations(actor, "mkdir", "/tmp/new", 0o755):
        ...     assert result.errno in (errno.ENOMEM, 0)

        Args:
            actor: the process that issues it; root's, as others may not have faults injected.
            call: the name or number of the system call, as for Actor.syscall().
            *args: its arguments.

        Yields:
            The result of each call. Its ``injected`` is true, except in the last one.

        Raises:
            CheckFailed: the call never got all its memory.
        """
        for number in count(1):
            result = actor.syscall(call, *args, fail_nth=number)
            yield result
            if not result.injected:
                return
            if number >= _MOST:
                raise CheckFailed(f"{call} has failed {number} times for want of memory")
