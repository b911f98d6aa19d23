# SPDX-License-Identifier: GPL-2.0
"""A connection to a guest by SSH: commands with time limits, files, and open channels."""

import base64
import io
import logging
import shlex
import socket
import subprocess
import tarfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import paramiko

from pyharness.errors import CheckFailed, GuestError, GuestTimeout, UsageError
from pyharness.host.file_content import FileContent
from pyharness.host.programs import environment
from pyharness.transport.authentication import Keys, KeyStrategy, refusal_in
from pyharness.transport.streams import Feeder, pump

# paramiko logs a traceback of each attempt to connect that fails. Without a handler, Python would
# print it.
logging.getLogger("paramiko").addHandler(logging.NullHandler())

# The time limit of one attempt to connect, by this host's clock, as the guest may be slow.
_ATTEMPT_SECONDS = 20.0
# The time limit for the start of a command, by the connection's clock.
_OPEN_SECONDS = 60.0
# How often to check that a guest that is waited for still lives.
WATCH_SECONDS = 2.0
# How often to check the time limit of what has no such limit by itself.
_LIMIT_SECONDS = 0.25
# sshd passes the whole line to a shell as one argument: Linux's MAX_ARG_STRLEN, which counts the
# null character at the end. OpenSSH ends the connection over a request of more than 256 KiB.
_MOST_LINE_BYTES = (128 << 10) - 1


@dataclass(frozen=True, kw_only=True)
class Completed:
    """The result of a command in the guest.

    Attributes:
        command: the line that the guest's shell ran.
        status: the exit status; -1 if a signal ended the command.
        stdout: the command's standard output.
        stderr: the command's standard error.
    """

    command: str
    status: int
    stdout: str
    stderr: str

    def check(self) -> "Completed":
        """Return this result if the exit status is 0.

        Raises:
            CheckFailed: the status is not 0; the message has the command's output.
        """
        if self.status:
            said = (self.stderr or self.stdout).strip()
            raise CheckFailed(f"in the guest: {self.command}: exit status {self.status}: {said}")
        return self


class _Transport(paramiko.Transport):
    """A transport that drops what can't be sent any more; whoever reads learns of the end.

    Paramiko does so once it knows that the connection is lost. Until then it raises EOFError, also
    where a channel is closed.
    """

    def _send_user_message(self, data: paramiko.Message) -> None:
        with suppress(EOFError):
            super()._send_user_message(data)  # type: ignore[misc]


def _transport(connection: Any, **options: Any) -> paramiko.Transport:
    return _Transport(connection, **options)


def _check_line(line: bytes) -> None:
    if len(line) > _MOST_LINE_BYTES:
        raise UsageError(
            f"the command has {len(line):,} bytes, and the guest's shell takes {_MOST_LINE_BYTES:,}"
            " at most: pass long data in a file or by standard input"
        )
    if b"\0" in line:
        raise UsageError("a command can't have a null character")


class Ssh:
    """A connection to one guest, on which all commands run as root."""

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
        """Prepare a connection, which connect() then makes.

        Args:
            host: the name or address of the guest's SSH server.
            port: the TCP port of the guest's SSH server.
            key: the file of the private key to log in with. If the server refuses it, connect()
                tries again, as the guest may be booting.
            keys: provides the private keys to log in with instead, tried one after another. If the
                server refuses all of them, connect() fails.
            host_key: the server's public key, in OpenSSH's format; None accepts any.
            user: the user to log in as. If that is not root, commands run by sudo, which must
                not ask for a password.
            proxy: a shell command to connect through, by its standard streams; empty for TCP.
            watch: called now and then while the guest is waited for; raises to give up.
            clock: returns the seconds in which time limits are counted.
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
        """Call the function that watches the guest, if its last call was over WATCH_SECONDS ago."""
        if time.monotonic() - self._watched > WATCH_SECONDS:
            self._watched = time.monotonic()
            self._watch()

    def connect(self, seconds: float) -> None:
        """Connect, and try again until that works.

        Args:
            seconds: the time limit, by the connection's clock.

        Raises:
            GuestTimeout: no attempt succeeded in time.
            GuestError: the server refuses each of the keys, or its name can't be resolved.
        """
        name = f"{self._where[0]}:{self._where[1]}" + f", by {self._proxy}" * bool(self._proxy)
        end = self.clock() + seconds
        while True:
            try:
                with self._keys() as keys:
                    self._client = self._try_to_connect(keys, end)
            except (OSError, EOFError, UnicodeError, paramiko.SSHException) as error:
                self._watch()
                if isinstance(error, socket.gaierror):
                    raise GuestError(f"{name} can't be found: {error.strerror}") from error
                if isinstance(error, UnicodeError):  # the resolver can't encode it
                    raise GuestError(f"{name} can't be found: it is no host's name") from error
                if refusal := refusal_in(error):
                    raise GuestError(f"{name} refuses {self._user}: {refusal}") from error
                if self.clock() > end:
                    raise GuestTimeout(f"no SSH at {name} in {seconds:.0f} s: {error}") from error
                time.sleep(0.1)
            else:
                return

    def _try_to_connect(self, keys: Sequence[paramiko.PKey], end: float) -> paramiko.SSHClient:
        """Try once, until the connection's clock reads ``end`` at most."""
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
            connect = partial(
                client.connect,
                host,
                port,
                username=self._user,
                key_filename=str(self._key) if self._key else None,
                auth_strategy=KeyStrategy(self._user, keys) if keys else None,
                sock=self._start_proxy() if self._proxy else None,
                timeout=_ATTEMPT_SECONDS,
                banner_timeout=_ATTEMPT_SECONDS,
                auth_timeout=_ATTEMPT_SECONDS,
                look_for_keys=False,
                transport_factory=_transport,
                allow_agent=False,
            )
            self._watched_call(connect, end, give_up=client.close)
        except BaseException:
            self._end_proxy()
            raise
        return client

    def _watched_call(
        self, call: Callable[[], object], end: float, *, give_up: Callable[[], object]
    ) -> None:
        """Make a call that blocks, in a thread; meanwhile watch the guest and the time.

        Args:
            call: the call.
            end: until when to wait for it, by the connection's clock.
            give_up: called if this function raises. It makes the call return, and is called again
                when the call has returned, for what the call has opened since.

        Raises:
            TimeoutError: it did not return in time.
        """
        errors: list[BaseException] = []
        given_up = threading.Event()

        def run() -> None:
            try:
                call()
            except BaseException as error:  # who waits raises it
                errors.append(error)
            if given_up.is_set():
                give_up()

        try:
            thread = threading.Thread(target=run, daemon=True)
            thread.start()
            self._join(thread, end)
        except BaseException:
            given_up.set()
            give_up()
            raise
        if errors:
            give_up()
            raise errors[0]

    def _join(self, thread: threading.Thread, end: float) -> None:
        """Wait for the end of a thread; meanwhile watch the guest and the time.

        Raises:
            TimeoutError: the connection's clock reads more than ``end``.
        """
        while True:
            thread.join(_LIMIT_SECONDS)
            if not thread.is_alive():
                return
            self.watch()
            if self.clock() > end:
                raise TimeoutError("no answer")

    def _start_proxy(self) -> socket.socket:
        """Start the proxy command, and return a socket connected to its standard streams."""
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
        """Disconnect, and end the proxy command; the guest keeps running."""
        if self._client:
            self._client.close()
            self._client = None
        self._end_proxy()

    def open(self, command: str, *, terminal: bool = False) -> paramiko.Channel:
        """Start a command in the guest.

        Args:
            command: a line for the guest's shell.
            terminal: whether the command gets a terminal.

        Returns:
            The command's channel, which the caller reads, writes and closes.

        Raises:
            UsageError: the line is too long, or has a null character.
            GuestError: there is no connection, or it is lost.
        """
        transport = self._client.get_transport() if self._client else None
        if transport is None:
            raise GuestError("not connected to the guest")
        if self._user != "root":
            command = shlex.join(["sudo", "-n", "--", "sh", "-c", command])
        line = command.encode(errors="surrogateescape")
        _check_line(line)
        return self._open(transport, line, terminal=terminal)

    def _open(
        self, transport: paramiko.Transport, line: bytes, *, terminal: bool
    ) -> paramiko.Channel:
        opened: list[paramiko.Channel] = []

        def start() -> None:
            channel = transport.open_session(timeout=_OPEN_SECONDS)
            opened.append(channel)
            if terminal:
                channel.get_pty()
            channel.exec_command(line)

        def close() -> None:
            for channel in opened:
                channel.close()

        try:
            self._watched_call(start, self.clock() + _OPEN_SECONDS, give_up=close)
        except TimeoutError as error:
            raise GuestTimeout("the guest does not start the command") from error
        except (paramiko.SSHException, OSError, EOFError) as error:
            raise GuestError(f"the connection to the guest is gone: {error}") from error
        return opened[0]

    def run(self, command: str | Sequence[str], *, seconds: float, stdin: bytes = b"") -> Completed:
        """Run a command in the guest until it ends, whatever its exit status.

        Args:
            command: a line for the guest's shell, or a list of words, which are quoted for it.
            seconds: the time limit, by the connection's clock.
            stdin: the command's standard input.

        Raises:
            UsageError: the line is too long, or has a null character.
            GuestTimeout: the command did not end in time.
            GuestError: there is no connection, or it is lost.
        """
        line = command if isinstance(command, str) else shlex.join(command)
        out, err = io.BytesIO(), io.BytesIO()
        with self.open(line) as channel:
            feeder = Feeder(channel, [stdin] if stdin else [])
            end = self.clock() + seconds

            def tick() -> None:
                feeder.feed()
                self.watch()
                if self.clock() > end:
                    raise GuestTimeout(f"in the guest: {line}: timed out after {seconds:.0f} s")

            status = pump(channel, stdout=out.write, stderr=err.write, tick=tick)
        return Completed(
            command=line,
            status=status,
            stdout=out.getvalue().decode(errors="replace"),
            stderr=err.getvalue().decode(errors="replace"),
        )

    def put_files(self, files: Mapping[Path, FileContent], target: str, *, seconds: float) -> None:
        """Write files in the guest.

        Args:
            files: their contents, by their paths relative to ``target``.
            target: a folder of the guest, created if it is missing.
            seconds: the time limit, by the connection's clock.

        Raises:
            CheckFailed: the guest can't write them.
            GuestTimeout: the copy was not done in time.
            GuestError: there is no connection, or it is lost.
        """
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as tar:
            for path, content in files.items():
                member = tarfile.TarInfo(str(path))
                member.size, member.mode = len(content.data), content.mode
                tar.addfile(member, io.BytesIO(content.data))
        where = shlex.quote(target)
        self.run(
            f"mkdir -p {where} && tar -xmC {where} --no-same-owner",
            seconds=seconds,
            stdin=packed.getvalue(),
        ).check()

    def put(self, data: bytes, target: str, *, seconds: float) -> None:
        """Write a file in the guest.

        Args:
            data: the file's content.
            target: the file's path in the guest.
            seconds: the time limit, by the connection's clock.

        Raises:
            CheckFailed: the guest can't write it.
            GuestTimeout: the copy was not done in time.
            GuestError: there is no connection, or it is lost.
        """
        self.run(f"cat > {shlex.quote(target)}", seconds=seconds, stdin=data).check()

    def get(self, source: str, *, seconds: float) -> bytes:
        """Read a file of the guest.

        Args:
            source: the file's path in the guest.
            seconds: the time limit, by the connection's clock.

        Raises:
            CheckFailed: the guest can't read it.
            GuestTimeout: the copy was not done in time.
            GuestError: there is no connection, or it is lost.
        """
        encoded = self.run(["base64", "-w0", source], seconds=seconds).check()
        return base64.b64decode(encoded.stdout)
