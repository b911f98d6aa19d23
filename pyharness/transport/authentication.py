# SPDX-License-Identifier: GPL-2.0
"""How a connection logs in by private keys, and what a server refuses."""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager

import paramiko
from paramiko.auth_strategy import AuthFailure, AuthStrategy, InMemoryPrivateKey

# Messages of paramiko's errors for a failed authentication that mean a lost connection.
_LOST = re.compile("EOF|timeout")
# Returns a context in which private keys can be used.
Keys = Callable[[], AbstractContextManager[Sequence[paramiko.PKey]]]


class KeyStrategy(AuthStrategy):
    """Tries private keys in one connection, one after another."""

    def __init__(self, user: str, keys: Sequence[paramiko.PKey]) -> None:
        super().__init__(ssh_config=paramiko.SSHConfig())
        self._user = user
        self._keys = keys

    def get_sources(self) -> Iterator[InMemoryPrivateKey]:
        """Return the keys to try, in order."""
        return (InMemoryPrivateKey(self._user, key) for key in self._keys)


def refusal_in(error: Exception) -> str:
    """Describe what the server refused; empty if it refused nothing.

    If the connection was lost at the first key, that is no refusal.

    Args:
        error: why an attempt to connect failed.
    """
    if not isinstance(error, AuthFailure):
        return ""
    answer = error.result[0].result
    if isinstance(answer, paramiko.BadAuthenticationType):
        return f"it accepts no public keys, but {' or '.join(answer.allowed_types)}"
    if not isinstance(answer, paramiko.AuthenticationException) or _LOST.search(str(answer)):
        return ""
    sources = (source for source, _ in error.result)
    tried = [
        source.pkey.fingerprint for source in sources if isinstance(source, InMemoryPrivateKey)
    ]
    return f"it rejected the key {' and the key '.join(tried)}"
