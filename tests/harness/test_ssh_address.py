# SPDX-License-Identifier: GPL-2.0
"""How an address is typed, and completed from the configuration of ssh(1), which is asked."""

from pathlib import Path

import pytest

from pyharness import UsageError
from pyharness.transport import ssh_address
from pyharness.transport.ssh_address import Address

pytestmark = pytest.mark.smoke

SSH_CONFIG = """Host box
  HostName box.example
  Port 2022
  User builder
  IdentityFile ~/keys/%h
  IdentityFile "/a b/key"
Host far
  ProxyCommand nc -x proxy %h %p
  IdentitiesOnly yes
Host jump
  ProxyJump me@between
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A configuration of ssh(1)."""
    path = tmp_path / "config"
    path.write_text(SSH_CONFIG, encoding="utf-8")
    return path


def test_an_address_is_typed_as_for_ssh(config: Path) -> None:
    key = Path("/k")
    found = ssh_address.parse("h:2222", key=key, user="root", config=config)
    assert found == Address(host="h", port=2222, user="root", keys=(key,))
    assert ssh_address.parse("h", key=key, config=config).port == 22
    found = ssh_address.parse("me@[::1]:2222", key=key, config=config)
    assert (found.host, found.port, found.user) == ("::1", 2222, "me")
    assert ssh_address.parse("me@h", user="root", config=config).user == "root"
    for wrong in ("", "h:", ":22", "h:22:22", "a b:22", "h:port", "h:0", "h:65536", "::1"):
        with pytest.raises(UsageError, match="is not a HOST:PORT"):
            ssh_address.parse(wrong, key=key)


def test_an_alias_means_what_the_configuration_of_ssh_says(config: Path) -> None:
    found = ssh_address.parse("box", config=config)
    assert (found.host, found.port, found.user) == ("box.example", 2022, "builder")
    assert found.keys == (Path.home() / "keys" / "box.example", Path("/a b/key"))
    assert found.agent
    found = ssh_address.parse("box:22", user="root", key=Path("~/k"), config=config)
    assert (found.port, found.user, found.agent) == (22, "root", False)
    assert found.keys == (Path.home() / "k",)
    far = ssh_address.parse("far:2222", config=config)
    assert far.proxy == "nc -x proxy far 2222"
    assert not far.agent
    with pytest.raises(UsageError, match=r"ProxyCommand ssh -W %h:%p me@between"):
        ssh_address.parse("jump", config=config)
    config.write_text("Port many\n", encoding="ascii")
    with pytest.raises(UsageError, match=r"ssh can't make out h: .*config line 1: Bad"):
        ssh_address.parse("h", config=config)
