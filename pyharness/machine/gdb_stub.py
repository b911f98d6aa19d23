# SPDX-License-Identifier: GPL-2.0
"""Who uses the stub by which gdb debugs a machine, and what a gdb that was killed leaves there.

A lock in the machine's folder is held by the process that started gdb, and by gdb itself: for as
long as either of them lives, the guest is debugged.
"""

import fcntl
import os
import re
import socket
import time
from pathlib import Path

# QEMU's socket, for as long as gdb may be used.
SOCKET = "gdb.sock"
_LOCK = "gdb.lock"
# Requests of gdb's remote protocol: the client knows several processes; it leaves the first one,
# which is QEMU's name for the machine. Only at that does QEMU remove the breakpoints of all CPUs.
_LEAVE = (b"qSupported:multiprocess+", b"D;1")
_ANSWER = re.compile(rb"\$[^#]*#[0-9a-f]{2}")
_ANSWER_SECONDS = 10.0
# Who looks holds the lock for less than a millisecond.
_ATTEMPTS, _AGAIN_SECONDS = 10, 0.02


def take(folder: Path, *, shared: bool = False) -> int | None:
    """Take the lock of a machine; who only looks holds it for a moment, and is waited for.

    Args:
        folder: the machine's folder.
        shared: whether others may hold it, too, so that only a gdb's own lock counts.

    Returns:
        The file descriptor that holds it until all its copies are closed; None if somebody else
        has it.
    """
    lock = os.open(folder / _LOCK, os.O_CREAT | os.O_RDWR, 0o600)
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    for _ in range(1 if shared else _ATTEMPTS):
        try:
            fcntl.flock(lock, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_AGAIN_SECONDS)
        else:
            return lock
    os.close(lock)
    return None


def is_used(folder: Path) -> bool:
    """Whether a gdb debugs the machine in a folder, or is about to."""
    if not (folder / _LOCK).exists():
        return False
    if (lock := take(folder, shared=True)) is not None:
        os.close(lock)
    return lock is None


def detach(folder: Path) -> None:
    """Remove the breakpoints of a gdb that has ended without that; the guest runs on.

    Args:
        folder: the folder of a machine whose QEMU has the socket.

    Raises:
        OSError: QEMU does not answer.
    """
    opened = os.open(folder, os.O_PATH)  # its path may be too long for a socket
    try:
        with socket.socket(socket.AF_UNIX) as stub:
            stub.settimeout(_ANSWER_SECONDS)
            stub.connect(f"/proc/self/fd/{opened}/{SOCKET}")
            for request in _LEAVE:
                stub.sendall(packet(request))
                _receive(stub)
    finally:
        os.close(opened)


def packet(request: bytes) -> bytes:
    """Return a request as it is sent: between marks, with a checksum. Pure."""
    return b"$%b#%02x" % (request, sum(request) % 256)


def _receive(stub: socket.socket) -> None:
    """Receive an answer, and acknowledge it."""
    said = b""
    while not _ANSWER.search(said):
        more = stub.recv(1 << 10)
        if not more:
            raise ConnectionResetError("QEMU has closed the connection for gdb")
        said += more
    stub.sendall(b"+")
