# SPDX-License-Identifier: GPL-2.0
"""Private keys of this host's user, from files and from the SSH agent."""

import base64
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import paramiko

from pyharness.errors import UsageError

_ENCRYPTED = (TypeError, paramiko.PasswordRequiredException)
_OPENSSH = re.compile(rb"-----BEGIN OPENSSH PRIVATE KEY-----(.+)-----END", re.DOTALL)
_OPENSSH_MAGIC = b"openssh-key-v1\0"
# Files that can't be used as a private key: how they begin, what they are, and what to do.
_OTHERS = (
    (
        rb"(?:ssh|ecdsa|sk-ssh|sk-ecdsa)-\S+ AAAA|---- BEGIN SSH2 PUBLIC|-----BEGIN [A-Z ]*PUBLIC",
        "is a public key: name the private one, which has no .pub",
    ),
    (rb"PuTTY-User-Key-File", "is in PuTTY's format: puttygen {} -O private-openssh -o NEW"),
    (rb"-----BEGIN PRIVATE KEY", "is in PKCS #8 format: ssh-keygen -p -f {} converts it"),
    (rb"-----BEGIN [A-Z ]+PRIVATE KEY", "is a damaged private key, or one of an unknown kind"),
)


@contextmanager
def of_agent() -> Iterator[Sequence[paramiko.PKey]]:
    """Yield the keys of this user's SSH agent, which can be used in the block.

    Without an agent there are none.
    """
    try:
        agent = paramiko.Agent()
    except (paramiko.SSHException, OSError):
        yield ()
        return
    try:
        yield agent.get_keys()
    finally:
        agent.close()


def load(path: Path, held: Sequence[paramiko.PKey]) -> paramiko.PKey:
    """Load the private key in a file; if it is encrypted, take the same key from the SSH agent.

    Args:
        path: the file.
        held: the keys that the agent holds.

    Raises:
        UsageError: the key can't be used; the message says why, and what to do.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path}, the private key, can't be read: {error.strerror}") from error
    try:
        return paramiko.PKey.from_path(path)
    except _ENCRYPTED as error:
        public = _public_part(path, data)
        for key in held:
            if key.asbytes() == public:
                return key
        raise UsageError(
            f"{path} is encrypted, and no SSH agent holds that key: ssh-add {path}"
        ) from error
    except Exception as error:  # paramiko and cryptography raise many types
        raise UsageError(f"{path} {_fault(data).format(path)}") from error


def usable(paths: Sequence[Path], held: Sequence[paramiko.PKey]) -> list[paramiko.PKey]:
    """Load the private keys in files, without those that are missing or can't be used.

    Args:
        paths: the files.
        held: the keys that the SSH agent holds, which stand in for encrypted files.
    """
    keys = []
    for path in paths:
        with suppress(UsageError):
            keys.append(load(path, held))
    return keys


def _fault(data: bytes) -> str:
    """Explain why a file can't be used as a private key."""
    faults = (fault for begin, fault in _OTHERS if re.match(begin, data))
    return next(faults, "is not a private key")


def _public_part(path: Path, data: bytes) -> bytes:
    """The public part of an encrypted key, from OpenSSH's own format or KEY.pub; else empty."""
    if found := _OPENSSH.search(data):
        message = paramiko.Message(base64.b64decode(found[1]).removeprefix(_OPENSSH_MAGIC))
        for _ in ("cipher", "key derivation", "its options"):
            message.get_string()
        message.get_int()  # how many keys: 1
        return message.get_string()
    with suppress(OSError, ValueError, IndexError):
        return base64.b64decode(path.with_name(path.name + ".pub").read_text().split()[1])
    return b""
