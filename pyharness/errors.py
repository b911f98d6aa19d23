# SPDX-License-Identifier: GPL-2.0
"""What can go wrong, and the exit code that tells a script which of it did.

    HarnessError
     ├─ CheckFailed        1  the module, or a test of it, is not right
     │   └─ ModuleRefused  1  this .ko can't load, or did and does nothing
     ├─ UsageError         2  the command was given something it can't use
     ├─ HostError          3  this host lacks something
     └─ GuestError         4  the guest can't be used
         ├─ GuestTimeout   4  it did not answer in time
         ├─ ActorGone      4  a process that acts there has ended
         └─ GuestCrashed   4  its kernel died; has the kernel's own report

Each message is one sentence, and names the fix where there is one.
"""


class HarnessError(Exception):
    """Anything that this package raises on purpose."""

    exit_code = 1


class CheckFailed(HarnessError):
    """What was checked is not as it should be."""


class ModuleRefused(CheckFailed):
    """A module that can't be loaded, or that loads and does nothing."""


class UsageError(HarnessError):
    """An argument that can't be used."""

    exit_code = 2


class HostError(HarnessError):
    """Something that this host lacks."""

    exit_code = 3


class GuestError(HarnessError):
    """The guest can't be used."""

    exit_code = 4


class GuestTimeout(GuestError):
    """The guest did not answer within the time it was given."""


class ActorGone(GuestError):
    """A process or thread in the guest that was asked for something does not live any more."""


class GuestCrashed(GuestError):
    """The guest's kernel died.

    Attributes:
        report: what the kernel said of it, from the serial console.
        history: what the guest was asked to do last.
    """

    def __init__(self, message: str, *, report: str = "", history: str = "") -> None:
        asked = f"what it was asked to do, the last at the end:\n{history}" if history else ""
        super().__init__("\n".join(filter(None, (message, report, asked))))
        self.report = report
        self.history = history
