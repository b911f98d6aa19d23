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
from pyharness.console import Console
from pyharness.elf import ModuleFile
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
from pyharness.guestfile import GuestFile, Mapping
from pyharness.guests import DEFAULT_GUEST, GuestSpec
from pyharness.kernellog import KernelLog
from pyharness.kmsg import Call, Record
from pyharness.lab import KernelLogOfTest, Lab
from pyharness.memory import Argument, InOut, Out
from pyharness.module import LoadedModule, Module
from pyharness.paths import MODULE
from pyharness.ssh import Completed
from pyharness.status import Intercepted
from pyharness.syscalls import Syscalls

boot = Guest.boot

__all__ = [
    "DEFAULT_GUEST",
    "MODULE",
    "Abi",
    "Actor",
    "ActorGone",
    "Argument",
    "Built",
    "Call",
    "CheckFailed",
    "Command",
    "Completed",
    "Console",
    "Guest",
    "GuestCrashed",
    "GuestError",
    "GuestFile",
    "GuestSpec",
    "GuestTimeout",
    "HarnessError",
    "HostError",
    "InOut",
    "Intercepted",
    "KernelLog",
    "KernelLogOfTest",
    "Lab",
    "LoadedModule",
    "Mapping",
    "Module",
    "ModuleFile",
    "ModuleRefused",
    "Out",
    "Record",
    "Result",
    "Syscalls",
    "UsageError",
    "boot",
]
