# SPDX-License-Identifier: GPL-2.0
"""A guest of which nothing is known but how to enter it by SSH: somebody else runs it.

All that goes through SSH works there. It has no serial console to read, its
kernel's end is seen as a connection that is lost, and nothing can be thawed.
"""

import hashlib
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pyharness import guests, image, machines, paths
from pyharness.accel import Accelerator
from pyharness.errors import GuestError, UsageError
from pyharness.guest import Guest
from pyharness.guests import GuestSpec
from pyharness.image import Image
from pyharness.machines import Frozen
from pyharness.qemu import Machine
from pyharness.ssh import Ssh

_SECONDS = 60.0
# Who runs it knows how fast it is; limits are as long as under emulation.
_ACCEL = Accelerator(name="ssh", reason="somebody else runs it")


@dataclass(frozen=True, kw_only=True)
class Address:
    """How to enter a guest.

    Attributes:
        host: its name or address.
        port: of its SSH server.
        user: who enters; who isn't root becomes so by sudo, without a password.
        key: the private key.
    """

    host: str
    port: int = 22
    user: str = "root"
    key: Path

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def parse(text: str, *, user: str = "root", key: Path | None = None) -> Address:
    """An address that is written as HOST:PORT; the key is this user's if none is named.

    Raises:
        UsageError: it isn't written so.
    """
    found = re.fullmatch(r"([^:\s]+|\[[^\]\s]+\]):(\d{1,5})", text)
    if not found:
        raise UsageError(f"{text!r} is no HOST:PORT, such as 127.0.0.1:2222")
    key = key.expanduser() if key else image.user_key()
    if not key.is_file():
        raise UsageError(f"there is no private key {key}: name one by --ssh-key")
    return Address(host=found[1].strip("[]"), port=int(found[2]), user=user, key=key)


class _Elsewhere(Machine):
    """A machine that somebody else runs."""

    @property
    def alive(self) -> bool:
        return True

    @property
    def orphaned(self) -> bool:
        return False

    def end(self) -> None:
        """It is not this one's to end."""

    def status(self) -> str:
        return "running"

    def qmp(self, *commands: str | tuple[str, dict[str, Any]]) -> Any:
        raise GuestError(f"{self.guest} is known by SSH alone: {commands} can't be asked for")


def enter(address: Address) -> Guest:
    """Enter a guest.

    Raises:
        GuestError: there is no way in.
        CheckFailed: it lacks what builds a module.
        UsageError: it is of an architecture that nothing is known about.
    """

    def connection(watch: Callable[[], object] = lambda: None) -> Ssh:
        return Ssh(
            address.host,
            address.port,
            key=address.key,
            host_key=None,
            user=address.user,
            watch=watch,
            clock=time.monotonic,
        )

    ssh = connection()
    ssh.connect(_SECONDS)
    try:
        frozen = _look(ssh, address)
    finally:
        ssh.close()
    machine = _Elsewhere(
        folder=frozen.folder,
        guest=frozen.spec.name,
        accel=_ACCEL.name,
        port=address.port,
        pid=0,
        began=0.0,
        owner=None,
    )
    return Guest(frozen, machine, fresh=False, way_in=connection)


def _look(ssh: Ssh, address: Address) -> Frozen:
    """Find out what a guest is."""
    asked = "uname -r; dpkg --print-architecture; nproc; . /etc/os-release; echo $VERSION_CODENAME"
    release, architecture, cpus, suite = (
        ssh.run(asked, seconds=_SECONDS).check().stdout.split("\n")[:4]
    )
    vermagic, exports = machines.facts(ssh, seconds=_SECONDS)
    name = hashlib.sha256(f"{release} {vermagic} {exports}".encode()).hexdigest()[:12]
    folder = paths.cache() / "remote" / f"{release}-{name}"
    with paths.locked(f"remote-{folder.name}"):
        if not folder.is_dir():
            with paths.made_whole(folder) as making:
                (making / "exports").write_text(exports, encoding="utf-8")
    return Frozen(
        folder=folder,
        spec=_spec(str(address), architecture, suite, int(cpus)),
        image=Image(folder=folder, release=release, version="", host_key=""),
        accel=_ACCEL,
        vermagic=vermagic,
    )


def _spec(name: str, architecture: str, suite: str, cpus: int) -> GuestSpec:
    """What is known about guests like it: of the same suite, or just of its architecture."""
    kin = [spec for spec in guests.load().values() if spec.architecture == architecture]
    if not kin:
        raise UsageError(f"{name} is of architecture {architecture}, of which nothing is known")
    like = next((spec for spec in kin if spec.suite == suite), kin[0])
    return replace(like, name=name, suite=suite, cpus=cpus)
