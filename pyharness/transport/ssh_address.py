# SPDX-License-Identifier: GPL-2.0
"""How to connect to a host by SSH, as the command line and the configuration of ssh(1) say."""

import getpass
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import paramiko

from pyharness.errors import UsageError
from pyharness.host.programs import completed
from pyharness.transport import ssh_keys


@dataclass(frozen=True, kw_only=True)
class Address:
    """How to connect to a guest by SSH.

    Attributes:
        host: the host's name or address.
        port: the port of its SSH server.
        user: the user to log in as. Commands of a user other than root run by sudo, which must
            not ask for a password.
        keys: the files of the private keys to try. If there is more than one, those that can't
            be used are skipped.
        agent: whether to try the keys of the SSH agent as well.
        proxy: a shell command whose standard streams are connected to the server; empty for TCP.
    """

    host: str
    port: int = 22
    user: str = "root"
    keys: tuple[Path, ...]
    agent: bool = False
    proxy: str = ""

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"

    @contextmanager
    def private_keys(self) -> Iterator[list[paramiko.PKey]]:
        """Yield the private keys to try, those of the SSH agent first.

        They can be used until the ``with`` block ends, which may close the connection to the
        SSH agent.

        Raises:
            UsageError: there is no key, or the only one that is named can't be used.
        """
        with ssh_keys.of_agent() as held:
            if len(self.keys) == 1 and not self.agent:
                yield [ssh_keys.load(self.keys[0], held)]
                return
            found = [*held] if self.agent else []
            known = {key.asbytes() for key in found}
            found += [k for k in ssh_keys.usable(self.keys, held) if k.asbytes() not in known]
            if not found:
                raise UsageError(f"this user has no private key for {self}: name one by --ssh-key")
            yield found


_ADDRESS = re.compile(
    r"(?:(?P<user>[^@\s]+)@)?(?P<host>[^:@\s]+|\[[^]\s]+\])(?::(?P<port>\d{1,5}))?"
)


def parse(
    text: str, *, user: str | None = None, key: Path | None = None, config: Path | None = None
) -> Address:
    """Parse an address, and complete it from the configuration of ssh(1).

    Args:
        text: HOST or HOST:PORT; HOST may be an alias in the configuration, or USER@HOST.
        user: the user to log in as; overrides the text and the configuration.
        key: the file of the only private key to try; overrides the configuration.
        config: the configuration file to use instead of the user's and the system's.

    Returns:
        The address.

    Raises:
        UsageError: the text is no address, or the configuration has a mistake or needs what is
            not supported.
    """
    found = _ADDRESS.fullmatch(text)
    if not found or int(found["port"] or 22) not in range(1, 1 << 16):
        raise UsageError(f"{text!r} is not a HOST:PORT, such as 127.0.0.1:2222")
    asked = ["-p", found["port"]] if found["port"] else []
    if named := user or found["user"]:
        asked += ["-l", named]
    known = _configured(
        [*(["-F", str(config)] if config else []), *asked], found["host"].strip("[]")
    )
    return _resolved(known, alias=found["host"], key=key)


def _configured(options: list[str], host: str) -> dict[str, list[str]]:
    """Return the options with which ssh(1) would connect to a host, each with its values.

    Raises:
        UsageError: the configuration has a mistake.
    """
    done = completed("ssh", *options, "-G", "--", host)
    if done.returncode:
        said = done.stderr.strip().splitlines()
        raise UsageError(f"ssh can't make out {host}: {said[0] if said else 'it prints nothing'}")
    known: dict[str, list[str]] = {}
    for line in done.stdout.splitlines():
        option, _, value = line.partition(" ")
        known.setdefault(option, []).append(value)
    return known


def _resolved(known: dict[str, list[str]], *, alias: str, key: Path | None) -> Address:
    """Return the address that the options of ssh(1) describe.

    Args:
        known: each option with its values.
        alias: the host's name on the command line.
        key: the file of the only private key to try; None: those of the options.

    Raises:
        UsageError: the options need a ProxyJump, which is not supported.
    """
    first = {option: values[0] for option, values in known.items()}
    if first.get("proxyjump", "none") != "none":
        raise UsageError(
            f"{alias} has a ProxyJump, which pyharness can't do: write it as"
            f" ProxyCommand ssh -W %h:%p {first['proxyjump']}"
        )
    names = {
        "%": "%",
        "h": first["hostname"],
        "p": first["port"],
        "r": first["user"],
        "n": alias,
        "d": str(Path.home()),
        "u": getpass.getuser(),
    }

    def expanded(value: str) -> str:
        return re.sub(r"%([%hprndu])", lambda found: names[found[1]], value)

    files = [name for name in known.get("identityfile", []) if name != "none"]
    proxy = first.get("proxycommand", "none")
    return Address(
        host=first["hostname"],
        port=int(first["port"]),
        user=first["user"],
        keys=(key.expanduser(),) if key else tuple(Path(expanded(f)).expanduser() for f in files),
        agent=not key and first.get("identitiesonly") != "yes",
        proxy=expanded(proxy) if proxy != "none" else "",
    )
