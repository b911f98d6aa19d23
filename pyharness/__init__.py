# SPDX-License-Identifier: GPL-2.0
"""Test a kernel module in a real guest.

>>> import pyharness
>>> with pyharness.boot("bookworm-amd64") as guest:
...     module = guest.load("path/to/my_module")
...     print(guest.run("dmesg | tail -1").check().stdout)
...     module.unload()

The public interface is ``pyharness.__all__`` and, for the module that comes with the package,
``pyharness.interceptor.__all__``. Everything else may change.
"""

from pyharness.errors import (
    ActorGone,
    CheckFailed,
    EmulatorFault,
    GuestCrashed,
    GuestError,
    GuestTimeout,
    HarnessError,
    HostError,
    ModuleRefused,
    UsageError,
)
from pyharness.guest.actor import Actor
from pyharness.guest.arguments import Argument, InOut, Out
from pyharness.guest.backend import GuestFacts
from pyharness.guest.build import Built
from pyharness.guest.guest import Guest
from pyharness.guest.kernel_log import KernelLog, KernelLogOfTest
from pyharness.guest.loaded import LoadedModule
from pyharness.guest.open_file import GuestFile, Mapping
from pyharness.guest.pool import GuestPool
from pyharness.guest.result import Result
from pyharness.linux.kmsg import Record
from pyharness.linux.module_file import ModuleFile
from pyharness.linux.syscalls import SyscallRef, Syscalls
from pyharness.machine.guest_specs import DEFAULT_GUEST, GuestSpec
from pyharness.transport.console import Console
from pyharness.transport.ssh import Completed

boot = Guest.boot

__all__ = [
    "DEFAULT_GUEST",
    "Actor",
    "ActorGone",
    "Argument",
    "Built",
    "CheckFailed",
    "Completed",
    "Console",
    "EmulatorFault",
    "Guest",
    "GuestCrashed",
    "GuestError",
    "GuestFacts",
    "GuestFile",
    "GuestPool",
    "GuestSpec",
    "GuestTimeout",
    "HarnessError",
    "HostError",
    "InOut",
    "KernelLog",
    "KernelLogOfTest",
    "LoadedModule",
    "Mapping",
    "ModuleFile",
    "ModuleRefused",
    "Out",
    "Record",
    "Result",
    "SyscallRef",
    "Syscalls",
    "UsageError",
    "boot",
]
