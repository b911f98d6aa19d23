# SPDX-License-Identifier: GPL-2.0
"""How guests that somebody else runs are named. Pure."""

from pathlib import Path

import pytest

from pyharness import UsageError
from pyharness.machine import snapshots
from pyharness.pytest_plugin import vagrant
from pyharness.transport.ssh_address import Address

# As Vagrant 2.3 prints it, of a public box and of the provider qemu.
CONFIG = """Host default
  HostName 127.0.0.1
  User {user}
  Port 2222
  UserKnownHostsFile /dev/null
  StrictHostKeyChecking no
  PasswordAuthentication no
  IdentityFile {key}
  IdentitiesOnly yes
  LogLevel FATAL

"""


@pytest.mark.parametrize(("user", "key"), [("vagrant", "/home/a/key"), ("root", '"/a b/key"')])
def test_what_vagrant_prints_is_an_address(user: str, key: str) -> None:
    found = vagrant.parse(CONFIG.format(user=user, key=key))
    assert found == Address(host="127.0.0.1", port=2222, user=user, keys=(Path(key.strip('"')),))


def test_what_names_no_host_is_none() -> None:
    with pytest.raises(UsageError, match="names no host"):
        vagrant.parse("")


def test_snapshots_are_read_from_what_qemu_prints() -> None:
    said = (
        "List of snapshots present on all disks:\n"
        "ID        TAG               VM SIZE                DATE     VM CLOCK     ICOUNT\n"
        "--        before            166 MiB 2026-11-23 20:05:10 00:01:12.345\n"
        "--        after-load.2      166 MiB 2026-11-23 20:06:10 00:02:12.345\n"
    )
    assert snapshots.parse(said) == ["before", "after-load.2"]
    assert snapshots.parse("There is no snapshot available.") == []
