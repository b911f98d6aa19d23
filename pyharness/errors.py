# SPDX-License-Identifier: GPL-2.0
"""The package's exceptions, and the exit status of the command line for each.

    HarnessError
     ├─ CheckFailed        1  the module, or a test of it, is wrong
     │   └─ ModuleRefused  1  this .ko can't be loaded, or does nothing once loaded
     ├─ UsageError         2  an argument can't be used
     ├─ HostError          3  this host lacks something
     └─ GuestError         4  the guest can't be used
         ├─ GuestTimeout   4  the guest did not answer in time
         ├─ ActorGone      4  a process that acts in the guest has ended
         └─ GuestCrashed   4  the guest's kernel died; has the kernel's own report
             └─ EmulatorFault  4  because QEMU has emulated an instruction wrongly

Each message is one sentence, and names the fix where there is one.
"""


class HarnessError(Exception):
    """Base class of all exceptions that this package raises on purpose.

    Attributes:
        exit_code: the exit status of the command line.
    """

    exit_code = 1


class CheckFailed(HarnessError):
    """A check failed: the module, or a command in the guest, did not do what it should."""


class ModuleRefused(CheckFailed):
    """A module can't be loaded, or does nothing once loaded."""


class UsageError(HarnessError):
    """An argument, option, file or environment variable of the user can't be used."""

    exit_code = 2


class HostError(HarnessError):
    """This host lacks something, such as a program, a permission or disk space."""

    exit_code = 3


class GuestError(HarnessError):
    """The guest can't be used."""

    exit_code = 4


class GuestTimeout(GuestError):
    """The guest did not answer within the time limit."""


class ActorGone(GuestError):
    """The process or thread in the guest that a request was for has ended."""


class GuestCrashed(GuestError):
    """The guest's kernel died.

    Attributes:
        report: the kernel's own report, from the serial console.
        history: the last requests that were made of the guest, the latest at the end.
    """

    def __init__(self, message: str, *, report: str = "", history: str = "") -> None:
        asked = (
            f"the last requests to the guest, the most recent last:\n{history}" if history else ""
        )
        super().__init__("\n".join(filter(None, (message, report, asked))))
        self.report = report
        self.history = history


class EmulatorFault(GuestCrashed):
    """The guest's kernel died because QEMU has emulated an instruction wrongly.

    Attributes:
        fault: the sentence that says what shows it.
    """

    def __init__(self, message: str, *, fault: str, report: str = "", history: str = "") -> None:
        super().__init__(f"{message}\n{fault}", report=report, history=history)
        self.fault = fault
