# SPDX-License-Identifier: GPL-2.0
"""A connection to a guest by SSH: commands with deadlines, files, and open channels."""

import base64
import io
import logging
import re
import select
import shlex
import socket
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import paramiko
from paramiko.auth_strategy import AuthFailure, AuthStrategy, InMemoryPrivateKey

from pyharness.errors import CheckFailed, GuestError, GuestTimeout
from pyharness.host.programs import environment

# Of each attempt to connect that fails paramiko logs a traceback; where nobody has set up
# logging, Python would print it.
logging.getLogger("paramiko").addHandler(logging.NullHandler())

_CHUNK = 1 << 16
# How long to wait for one attempt to connect, on a guest that may be slow (s).
_PATIENCE = 20.0
# How often to look whether the guest that is waited for still lives (s).
WATCH_SECONDS = 2.0
_TICK_SECONDS = 0.02


# What paramiko calls a failed authentication, too: the connection was lost meanwhile.
_LOST = re.compile("EOF|timeout")
# Gives private keys that can be used in a block.
Keys = Callable[[], AbstractContextManager[Sequence[paramiko.PKey]]]


@dataclass(frozen=True, kw_only=True)
class Completed:
    """How a command in the guest ended.

    Attributes:
        command: as the guest's shell got it.
        status: its exit status; -1 if a signal ended it.
        stdout: what it printed.
        stderr: likewise.
    """

    command: str
    status: int
    stdout: str
    stderr: str

    def check(self) -> "Completed":
        """Itself, if the status is 0.

        Raises:
            CheckFailed: it isn't; the message has what the command said.
        """
        if self.status:
            said = (self.stderr or self.stdout).strip()
            raise CheckFailed(f"in the guest: {self.command}: exit status {self.status}: {said}")
        return self


class Ssh:
    """A connection to one guest, in which everything is done as root."""

    def __init__(
        self,
        host: str,
        port: int,
        *,
        key: Path | None = None,
        keys: Keys | None = None,
        host_key: str | None,
        user: str = "root",
        proxy: str = "",
        watch: Callable[[], object] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Nothing happens until connect().

        Args:
            host: where the guest's SSH server is.
            port: likewise.
            key: the private key to enter with; a refusal is not final, the guest may be booting.
            keys: gives the private keys to try instead, one after another, for as long as a
                block lasts; a refusal is final.
            host_key: the server's public key, as OpenSSH writes it; None: any.
            user: who enters; who isn't root becomes so by sudo, without a password.
            proxy: the shell command whose standard streams lead to the server, if not TCP.
            watch: called now and then while the guest is waited for; raises if that is vain.
            clock: the seconds that time limits are counted in.
        """
        self._watch = watch
        self._watched = time.monotonic()
        self.clock = clock
        self._where = (host, port)
        self._key = key
        self._keys = keys or (lambda: nullcontext(()))
        self._host_key = host_key
        self._user = user
        self._proxy = proxy
        self._proxying: subprocess.Popen[bytes] | None = None
        self._client: paramiko.SSHClient | None = None

    def watch(self) -> None:
        """Look whether waiting for the guest is vain, if it is time to look again."""
        if time.monotonic() - self._watched > WATCH_SECONDS:
            self._watched = time.monotonic()
            self._watch()

    def connect(self, seconds: float) -> None:
        """Connect, trying again until it works.

        Raises:
            GuestTimeout: it never did.
            GuestError: the server refuses each of the keys, or its name is not known.
        """
        name = f"{self._where[0]}:{self._where[1]}" + f", by {self._proxy}" * bool(self._proxy)
        end = self.clock() + seconds
        while True:
            left = end - self.clock()
            try:
                with self._keys() as keys:
                    self._client = self._try_to_connect(keys, min(max(left, 1.0), _PATIENCE))
            except (OSError, EOFError, paramiko.SSHException) as error:
                self._watch()
                if isinstance(error, socket.gaierror):
                    raise GuestError(f"{name} can't be found: {error.strerror}") from error
                if refusal := _refusal(error):
                    raise GuestError(f"{name} refuses {self._user}: {refusal}") from error
                if self.clock() > end:
                    raise GuestTimeout(f"no SSH at {name} in {seconds:.0f} s: {error}") from error
                time.sleep(0.1)
            else:
                return

    def _try_to_connect(self, keys: Sequence[paramiko.PKey], seconds: float) -> paramiko.SSHClient:
        host, port = self._where
        client = paramiko.SSHClient()
        if self._host_key:
            kind, text = self._host_key.split()[:2]
            key = paramiko.PKey.from_type_string(kind, base64.b64decode(text))
            client.get_host_keys().add(f"[{host}]:{port}", kind, key)
            client.set_missing_host_key_policy(paramiko.RejectPolicy())
        else:
            client.set_missing_host_key_policy(paramiko.AutoAddPolicy())
        try:
            client.connect(
                host,
                port,
                username=self._user,
                key_filename=str(self._key) if self._key else None,
                auth_strategy=_Strategy(self._user, keys) if keys else None,
                sock=self._start_proxy() if self._proxy else None,
                timeout=seconds,
                banner_timeout=seconds,
                auth_timeout=seconds,
                look_for_keys=False,
                allow_agent=False,
            )
        except BaseException:
            client.close()
            self._end_proxy()
            raise
        return client

    def _start_proxy(self) -> socket.socket:
        """Start the command that leads to the server, and return what is connected with it."""
        self._end_proxy()
        own, its = socket.socketpair()
        with its:
            self._proxying = subprocess.Popen(
                ["sh", "-c", f"exec {self._proxy}"],
                env=environment(),
                stdin=its.fileno(),
                stdout=its.fileno(),
                stderr=subprocess.DEVNULL,
            )
        return own

    def _end_proxy(self) -> None:
        if self._proxying:
            self._proxying.kill()
            self._proxying.wait()
            self._proxying = None

    def close(self) -> None:
        """Hang up."""
        if self._client:
            self._client.close()
            self._client = None
        self._end_proxy()

    def open(self, command: str, *, terminal: bool = False) -> paramiko.Channel:
        """Start a command; its channel is the caller's, to read, write and close.

        Raises:
            GuestError: the connection is gone.
        """
        transport = self._client.get_transport() if self._client else None
        if transport is None:
            raise GuestError("not connected to the guest")
        if self._user != "root":
            command = shlex.join(["sudo", "-n", "--", "sh", "-c", command])
        try:
            channel = transport.open_session(timeout=60)
            if terminal:
                channel.get_pty()
            channel.exec_command(command.encode(errors="surrogateescape"))
        except (paramiko.SSHException, OSError, EOFError) as error:
            raise GuestError(f"the connection to the guest is gone: {error}") from error
        return channel

    def run(self, command: str | Sequence[str], *, seconds: float, stdin: bytes = b"") -> Completed:
        """Run a command to its end.

        Args:
            command: for the guest's shell, or a list of words that are quoted for it.
            seconds: how long it may take.
            stdin: its standard input.

        Raises:
            GuestTimeout: it took longer.
            GuestError: the connection is gone.
        """
        line = command if isinstance(command, str) else shlex.join(command)
        out, err = io.BytesIO(), io.BytesIO()
        with self.open(line) as channel:
            feeder = _Feeder(channel, stdin)
            end = self.clock() + seconds

            def tick() -> None:
                feeder.feed()
                self.watch()
                if self.clock() > end:
                    raise GuestTimeout(f"in the guest: {line}: not done after {seconds:.0f} s")

            status = pump(channel, stdout=out.write, stderr=err.write, tick=tick)
        return Completed(
            command=line,
            status=status,
            stdout=out.getvalue().decode(errors="replace"),
            stderr=err.getvalue().decode(errors="replace"),
        )

    def put_files(
        self, files: Iterable[Path], folder: Path, target: str, *, seconds: float
    ) -> None:
        """Copy files into the guest.

        Args:
            files: which ones, all in ``folder``.
            folder: of this host; the files keep their places relative to it.
            target: the folder of the guest.
            seconds: how long it may take.
        """
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w", dereference=True) as tar:
            for path in files:
                tar.add(path, arcname=str(path.relative_to(folder)))
        where = shlex.quote(target)
        self.run(
            f"mkdir -p {where} && tar -xmC {where} --no-same-owner",
            seconds=seconds,
            stdin=packed.getvalue(),
        ).check()

    def put(self, data: bytes, target: str, *, seconds: float) -> None:
        """Write a file in the guest."""
        self.run(f"cat > {shlex.quote(target)}", seconds=seconds, stdin=data).check()

    def get(self, source: str, *, seconds: float) -> bytes:
        """Read a file of the guest."""
        encoded = self.run(["base64", "-w0", source], seconds=seconds).check()
        return base64.b64decode(encoded.stdout)


def pump(
    channel: paramiko.Channel,
    *,
    stdout: Callable[[bytes], object],
    stderr: Callable[[bytes], object],
    tick: Callable[[], object],
) -> int:
    """Carry a command's output until both its streams end, then take its status.

    In this order, and never ``recv_exit_status()`` first: a command that fills
    the channel's window waits for its reader for ever.

    Args:
        channel: the command's.
        stdout: called with what it prints.
        stderr: likewise.
        tick: called all the time; sends input, looks at the clock, raises to give up.

    Returns:
        The exit status, -1 if a signal ended the command.
    """
    channel.setblocking(False)
    while True:
        tick()
        # The order matters: what comes before the end must be read after the end is seen.
        ended = (channel.eof_received or channel.closed) and channel.exit_status_ready()
        if channel.recv_ready():
            stdout(channel.recv(_CHUNK))
        elif channel.recv_stderr_ready():
            stderr(channel.recv_stderr(_CHUNK))
        elif ended:
            if channel.exit_status == -1 and not _transport_lives(channel):
                raise GuestError("the connection to the guest is gone")
            return channel.exit_status
        else:
            select.select([channel], [], [], _TICK_SECONDS)


class _Strategy(AuthStrategy):
    """Tries private keys in one connection, one after another."""

    def __init__(self, user: str, keys: Sequence[paramiko.PKey]) -> None:
        super().__init__(ssh_config=paramiko.SSHConfig())
        self._user = user
        self._keys = keys

    def get_sources(self) -> Iterator[InMemoryPrivateKey]:
        """What to enter with."""
        return (InMemoryPrivateKey(self._user, key) for key in self._keys)


def _refusal(error: Exception) -> str:
    """What a server has refused, if it has: not where the connection was lost at the first key."""
    if not isinstance(error, AuthFailure):
        return ""
    answer = error.result[0].result
    if isinstance(answer, paramiko.BadAuthenticationType):
        return f"it takes no key, but {' or '.join(answer.allowed_types)}"
    if not isinstance(answer, paramiko.AuthenticationException) or _LOST.search(str(answer)):
        return ""
    sources = (source for source, _ in error.result)
    tried = [
        source.pkey.fingerprint for source in sources if isinstance(source, InMemoryPrivateKey)
    ]
    return f"it does not take the key {' nor '.join(tried)}"


class _Feeder:
    """Sends a command its input, as fast as it reads."""

    def __init__(self, channel: paramiko.Channel, data: bytes) -> None:
        self._channel = channel
        self._left: memoryview | None = memoryview(data)

    def feed(self) -> None:
        """Send what can be sent now."""
        if self._left is None:
            return
        try:
            while self._left and self._channel.send_ready():
                self._left = self._left[self._channel.send(bytes(self._left[:_CHUNK])) :]
            if not self._left:
                self._channel.shutdown_write()
                self._left = None
        except OSError:  # it reads no more
            self._left = None


def _transport_lives(channel: paramiko.Channel) -> bool:
    transport = channel.get_transport()
    return transport is not None and transport.is_active()
