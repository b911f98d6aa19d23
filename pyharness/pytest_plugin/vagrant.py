# SPDX-License-Identifier: GPL-2.0
"""The guest that Vagrant runs, if it runs one."""

import io
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import paramiko

from pyharness.errors import GuestError, UsageError
from pyharness.guest.ssh_only import Address
from pyharness.host.programs import environment, requires, which

_SECONDS = 60.0
# The provider of vm/vagrant.rb, whose machines' ids are the guests' names.
_OWN = "qemu"


@dataclass(frozen=True)
class Box:
    """A guest that Vagrant runs.

    Attributes:
        address: how to enter it.
        guest: the name of pyharness's own guest that it is, None if it's somebody else's.
    """

    address: Address
    guest: str | None


def _state(folder: Path) -> Path:
    """Where Vagrant keeps what it knows of its one machine, by provider."""
    named = os.environ.get("VAGRANT_DOTFILE_PATH")
    return (Path(named) if named else folder / ".vagrant") / "machines" / "default"


def is_likely(folder: Path) -> bool:
    """Whether Vagrant may run a guest for that folder; asks nobody."""
    return bool(which("vagrant")) and any(_state(folder).glob("*/id"))


def find(folder: Path) -> Box:
    """The guest that Vagrant runs for the Vagrantfile in a folder.

    Raises:
        UsageError: there is no Vagrantfile, or no Vagrant.
        GuestError: it does not run.
    """
    if not (folder / "Vagrantfile").is_file():
        raise UsageError(f"{folder} has no Vagrantfile")
    requires("vagrant")
    done = subprocess.run(
        ["vagrant", "ssh-config"],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
    )
    if done.returncode:
        raise GuestError("Vagrant runs no guest here: vagrant up")
    ids = {path.parent.name: path.read_text().strip() for path in _state(folder).glob("*/id")}
    return Box(parse(done.stdout), ids.get(_OWN))


def parse(config: str) -> Address:
    """How to enter the one host of what ``vagrant ssh-config`` printed. Pure.

    Raises:
        UsageError: it does not say how.
    """
    read = paramiko.SSHConfig.from_file(io.StringIO(config))
    name = next((host for host in sorted(read.get_hostnames()) if host != "*"), None)
    if name is None:
        raise UsageError("vagrant ssh-config names no host")
    host = read.lookup(name)
    return Address(
        host=host["hostname"],
        port=int(host.get("port", 22)),
        user=host.get("user", "vagrant"),
        keys=tuple(Path(name.strip('"')) for name in host["identityfile"]),
    )
