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
from pyharness.guest.agent import Actor, Result
from pyharness.guest.arguments import Argument, InOut, Out
from pyharness.guest.build import Built
from pyharness.guest.guest import Guest
from pyharness.guest.kernel_log import KernelLog, KernelLogOfTest
from pyharness.guest.open_file import GuestFile, Mapping
from pyharness.guest.pool import Lab
from pyharness.host.paths import MODULE
from pyharness.interceptor.interface import Command, Interface
from pyharness.interceptor.module import LoadedModule, Module
from pyharness.interceptor.status import Intercepted
from pyharness.linux.kmsg import Call, Record
from pyharness.linux.module_file import ModuleFile
from pyharness.linux.syscalls import Syscalls
from pyharness.machine.guest_specs import DEFAULT_GUEST, GuestSpec
from pyharness.transport.console import Console
from pyharness.transport.ssh import Completed

boot = Guest.boot

__all__ = [
    "DEFAULT_GUEST",
    "MODULE",
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
    "Interface",
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
