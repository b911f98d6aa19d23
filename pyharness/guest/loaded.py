# SPDX-License-Identifier: GPL-2.0
"""A module that is loaded in a guest."""

from collections.abc import Sequence
from typing import Protocol

from pyharness.transport.ssh import Completed


class RunsCommands(Protocol):
    """A function that runs a shell command in a guest as root, such as Guest.run()."""

    def __call__(self, command: str | Sequence[str]) -> Completed:
        """Run the command, wait for its end, and return its exit status and output."""


class LoadedModule:
    """A module that is loaded in a guest.

    Attributes:
        name: its name in the kernel.
    """

    def __init__(self, run: RunsCommands, name: str) -> None:
        """Represent the module ``name`` in the guest in which ``run`` runs commands."""
        self._run = run
        self.name = name

    def parameter(self, name: str) -> str:
        """Return the value of a parameter of the module, as ``/sys/module`` shows it.

        Raises:
            CheckFailed: the module has no such parameter, or the parameter is not readable.
        """
        path = f"/sys/module/{self.name}/parameters/{name}"
        return self._run(["cat", path]).check().stdout.removesuffix("\n")

    def unload(self) -> None:
        """Unload the module by rmmod.

        Raises:
            CheckFailed: the kernel refused.
        """
        self._run(["rmmod", self.name]).check()
