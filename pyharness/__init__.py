# SPDX-License-Identifier: GPL-2.0
"""Test a kernel module in a real guest.

>>> import pyharness
>>> with pyharness.boot() as guest:
...     module = guest.load(pyharness.MODULE)
...     actor = guest.actor("nobody")
...     with module.intercepted("mkdir"):
...         module.start("mkdir", actor.pid)
...         mark = guest.log.mark()
...         actor.syscall("mkdir", "/tmp", 0o755)
...         print(guest.log.calls(mark))
"""

from pyharness.abi import Abi, Command
from pyharness.agent import Actor, Result
from pyharness.build import Built
from pyharness.errors import (
    ActorGone,
    CheckFailed,
    GuestCrashed,
    GuestError,
    GuestTimeout,
    HarnessError,
    HostError,
    ModuleRefused,
    UsageError,
)
from pyharness.guest import Guest
from pyharness.guests import DEFAULT_GUEST
from pyharness.kernellog import KernelLog
from pyharness.kmsg import Call, Record
from pyharness.module import Module
from pyharness.paths import MODULE

boot = Guest.boot

__all__ = [
    "DEFAULT_GUEST",
    "MODULE",
    "Abi",
    "Actor",
    "ActorGone",
    "Built",
    "Call",
    "CheckFailed",
    "Command",
    "Guest",
    "GuestCrashed",
    "GuestError",
    "GuestTimeout",
    "HarnessError",
    "HostError",
    "KernelLog",
    "Module",
    "ModuleRefused",
    "Record",
    "Result",
    "UsageError",
    "boot",
]
