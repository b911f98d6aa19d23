# SPDX-License-Identifier: GPL-2.0
"""Finds the guest that Vagrant runs for a Vagrantfile."""

import io
import os
from dataclasses import dataclass
from pathlib import Path

import paramiko

from pyharness.errors import GuestError, GuestTimeout, UsageError
from pyharness.host.bounded import run_until
from pyharness.host.programs import requires, which
from pyharness.transport.ssh_address import Address

_SECONDS = 60.0  # for vagrant ssh-config
# The provider of vm/vagrant.rb. The IDs of its machines are names of this package's guests.
_OWN = "qemu"


@dataclass(frozen=True)
class Box:
    """A guest that Vagrant runs.

    Attributes:
        address: how to connect to it by SSH.
        guest: its name among this package's guests; None if another provider runs it.
    """

    address: Address
    guest: str | None


def _state(folder: Path) -> Path:
    """Return the folder in which Vagrant keeps the state of its machine, by provider."""
    named = os.environ.get("VAGRANT_DOTFILE_PATH")
    return (Path(named) if named else folder / ".vagrant") / "machines" / "default"


def is_likely(folder: Path) -> bool:
    """Return whether Vagrant may run a guest for a folder, judging by files, without running it."""
    return bool(which("vagrant")) and any(_state(folder).glob("*/id"))


def find(folder: Path) -> Box:
    """Ask Vagrant for the guest that it runs for the Vagrantfile in a folder.

    Raises:
        UsageError: there is no Vagrantfile, or Vagrant's answer names no host.
        HostError: Vagrant is not installed.
        GuestError: Vagrant runs no guest there.
        GuestTimeout: Vagrant did not answer in time.
    """
    if not (folder / "Vagrantfile").is_file():
        raise UsageError(f"{folder} has no Vagrantfile")
    requires("vagrant")
    command = ("vagrant", "ssh-config")
    try:
        done = run_until(command, seconds=_SECONDS, folder=folder, with_errors=False)
    except GuestTimeout as error:
        raise GuestTimeout(
            f"vagrant ssh-config did not end within {_SECONDS:g} s: see what vagrant status says,"
            " or name another guest by --guest"
        ) from error
    if done.status:
        raise GuestError("Vagrant runs no guest here: vagrant up")
    ids = {
        path.parent.name: path.read_text(encoding="utf-8", errors="replace").strip()
        for path in _state(folder).glob("*/id")
    }
    return Box(parse(done.output), ids.get(_OWN))


def parse(config: str) -> Address:
    """Parse the output of ``vagrant ssh-config``, which describes one host. Pure.

    Returns:
        The host's address.

    Raises:
        UsageError: the output names no host, or is something else.
    """
    try:
        return _parsed(config)
    except (paramiko.SSHException, ValueError) as error:
        raise UsageError(f"vagrant ssh-config prints no configuration of ssh: {error}") from error


def _parsed(config: str) -> Address:
    read = paramiko.SSHConfig.from_file(io.StringIO(config))
    name = next((host for host in sorted(read.get_hostnames()) if host != "*"), None)
    if name is None:
        raise UsageError("vagrant ssh-config names no host")
    host = read.lookup(name)
    return Address(
        host=host["hostname"],
        port=int(host.get("port", 22)),
        user=host.get("user", "vagrant"),
        keys=tuple(Path(name.strip('"')) for name in host.get("identityfile", [])),
    )
