# SPDX-License-Identifier: GPL-2.0
"""A module that is loaded in a guest."""

from collections.abc import Sequence
from typing import Protocol

from pyharness.transport.ssh import Completed


class RunsCommands(Protocol):
    """Runs a shell command as root, such as Guest.run()."""

    def __call__(self, command: str | Sequence[str]) -> Completed:
        """Run it to its end."""


class LoadedModule:
    """A module that is loaded in a guest.

    Attributes:
        name: what the kernel calls it.
    """

    def __init__(self, run: RunsCommands, name: str) -> None:
        """The module of that name, in the guest in which ``run`` runs commands."""
        self._run = run
        self.name = name

    def parameter(self, name: str) -> str:
        """The value of one of the module's parameters, which has to be readable.

        Raises:
            CheckFailed: the module has no such parameter, or it can't be read.
        """
        path = f"/sys/module/{self.name}/parameters/{name}"
        return self._run(["cat", path]).check().stdout.removesuffix("\n")

    def unload(self) -> None:
        """Unload it.

        Raises:
            CheckFailed: the kernel refuses.
        """
        self._run(["rmmod", self.name]).check()
