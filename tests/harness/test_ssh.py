# SPDX-License-Identifier: GPL-2.0
"""Private keys, and servers that refuse them or hang up; needs no guest."""

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import paramiko
import pytest
from paramiko.common import AUTH_FAILED, AUTH_SUCCESSFUL

from pyharness import GuestError, GuestTimeout, UsageError
from pyharness.transport import ssh_keys
from pyharness.transport.ssh import Ssh
from pyharness.transport.ssh_address import Address

SECONDS = 60.0

pytestmark = pytest.mark.smoke


def keygen(path: Path, *words: str) -> Path:
    """Make a key pair; without a passphrase if none is given."""
    passphrase = () if "-N" in words else ("-N", "")
    subprocess.run(["ssh-keygen", "-q", *passphrase, *words, "-f", str(path)], check=True)
    return path


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: keygen(path, "-N", "secret"), "{0} is encrypted, .*: ssh-add {0}"),
        (
            lambda path: keygen(path, "-t", "ecdsa", "-m", "PEM", "-N", "secret"),
            "{0} is encrypted, .*: ssh-add {0}",
        ),
        (
            lambda path: keygen(path, "-t", "ecdsa", "-m", "PKCS8"),
            "{0} is in PKCS #8 format: ssh-keygen -p -f {0} converts it",
        ),
        (
            lambda path: keygen(path.with_name("pair")).with_suffix(".pub").rename(path),
            "{0} is a public key: name the private one",
        ),
        (
            lambda path: path.write_text("PuTTY-User-Key-File-3: ssh-rsa\n"),
            "{0} is in PuTTY's format: puttygen {0} ",
        ),
        (lambda path: path.write_bytes(os.urandom(300)), "{0} is not a private key"),
        (
            lambda path: path.write_text(keygen(path.with_name("whole")).read_text()[:200]),
            "{0} is a damaged private key",
        ),
        (lambda path: path.mkdir(), "{0}, the private key, can't be read: Is a directory"),
        (str, "{0}, the private key, can't be read: No such file"),
    ],
)
def test_what_is_wrong_with_a_key_is_said_without_connecting(
    tmp_path: Path, make: Callable[[Path], object], message: str
) -> None:
    path = tmp_path / "key"
    make(path)
    address = Address(host="192.0.2.1", keys=(path,))  # where nobody answers
    ssh = Ssh(address.host, address.port, keys=address.private_keys, host_key=None)
    with pytest.raises(UsageError, match=message.format(path)):
        ssh.connect(SECONDS)


@contextmanager
def agent(folder: Path, *keys: Path) -> Iterator[None]:
    """An SSH agent that holds keys, whose passphrase is "secret"."""
    ask = folder / "ask"
    ask.write_text("#!/bin/sh\necho secret\n", encoding="ascii")
    ask.chmod(0o700)
    sock = folder / "agent.sock"
    environment = os.environ | {"SSH_ASKPASS": str(ask), "SSH_ASKPASS_REQUIRE": "force"}
    with subprocess.Popen(
        ["ssh-agent", "-D", "-a", str(sock)], stdout=subprocess.DEVNULL
    ) as process:
        try:
            while not sock.exists():
                assert process.poll() is None
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("SSH_AUTH_SOCK", str(sock))
                environment["SSH_AUTH_SOCK"] = str(sock)
                subprocess.run(["ssh-add", "-q", *map(str, keys)], env=environment, check=True)
                yield
        finally:
            process.terminate()


def test_an_encrypted_key_is_had_from_the_agent(tmp_path: Path) -> None:
    own = keygen(tmp_path / "own", "-N", "secret")
    old = keygen(tmp_path / "old", "-t", "ecdsa", "-m", "PEM", "-N", "secret")
    other = keygen(tmp_path / "other")
    with agent(tmp_path, own, old):
        with ssh_keys.of_agent() as keys:
            held = {key.asbytes() for key in keys}
        for key in (own, old):
            with Address(host="h", keys=(key,)).private_keys() as (found,):
                assert found.asbytes() in held
        address = Address(host="h", keys=(other, own, tmp_path / "none"), agent=True)
        with address.private_keys() as keys:
            assert {key.asbytes() for key in keys[:2]} == held
            assert len(keys) == 3
    lacking = Address(host="h", keys=(own, old))
    with (
        pytest.raises(UsageError, match="no private key for h:22: name one by --ssh-key"),
        lacking.private_keys(),
    ):
        pass


class _Server(paramiko.ServerInterface):
    """Takes one key of one user."""

    def __init__(self, taken: paramiko.PKey) -> None:
        self._taken = taken
        self.offered = 0
        self.hangs_up = False
        self.transport: paramiko.Transport | None = None

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        self.offered += 1
        if self.hangs_up and self.transport:
            self.hangs_up = False
            self.transport.close()
        right = username == "me" and key.asbytes() == self._taken.asbytes()
        return AUTH_SUCCESSFUL if right else AUTH_FAILED

    def get_allowed_auths(self, username: str) -> str:  # noqa: ARG002
        return "publickey"

    def check_channel_request(self, kind: str, chanid: int) -> int:  # noqa: ARG002
        return paramiko.common.OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:  # noqa: ARG002
        return True


@contextmanager
def listening(serve: Callable[[socket.socket], object]) -> Iterator[int]:
    """The port of 127.0.0.1 where each connection is served."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                serve(connection)

        thread = threading.Thread(target=accept)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


@contextmanager
def serving(server: _Server, host_key: paramiko.PKey) -> Iterator[int]:
    """The port of 127.0.0.1 where an SSH server takes the key that it knows."""
    transports = []

    def serve(connection: socket.socket) -> None:
        transport = paramiko.Transport(connection)
        transport.add_server_key(host_key)
        server.transport = transport
        transport.start_server(threading.Event(), server)
        transports.append(transport)

    with listening(serve) as port:
        yield port
    for transport in transports:
        transport.close()


def test_a_connection_that_is_lost_is_no_refusal(tmp_path: Path) -> None:
    """As of a guest that is just starting again."""
    key, host_key = (paramiko.PKey.from_path(keygen(tmp_path / name)) for name in ("a", "host"))
    server = _Server(key)
    server.hangs_up = True
    with serving(server, host_key) as port:
        ssh = Ssh("127.0.0.1", port, keys=lambda: nullcontext([key]), host_key=None, user="me")
        ssh.connect(SECONDS)
        ssh.close()
    assert server.offered > 1


def test_a_connection_may_be_lost_amid_each_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading says so, not writing or closing."""
    key, host_key = (paramiko.PKey.from_path(keygen(tmp_path / name)) for name in ("a", "host"))

    def lost(_data: object) -> None:
        raise EOFError

    with serving(_Server(key), host_key) as port:
        ssh = Ssh("127.0.0.1", port, keys=lambda: nullcontext([key]), host_key=None, user="me")
        ssh.connect(SECONDS)
        with ssh.open("true") as channel:
            transport = channel.get_transport()
            monkeypatch.setattr(transport.packetizer, "send_message", lost)
            channel.sendall(b"data")
            channel.shutdown_write()
        ssh.close()


def test_a_refusal_is_reported_at_once(tmp_path: Path) -> None:
    keys = [paramiko.PKey.from_path(keygen(tmp_path / name)) for name in ("a", "b", "host")]
    server = _Server(keys[1])
    with serving(server, keys[2]) as port:

        def enter(*tried: paramiko.PKey, proxy: str = "") -> None:
            ssh = Ssh(
                "127.0.0.1",
                port,
                keys=lambda: nullcontext(tried),
                host_key=None,
                user="me",
                proxy=proxy,
            )
            ssh.connect(SECONDS)
            ssh.close()

        began = time.monotonic()
        with pytest.raises(GuestError, match=f"127.0.0.1:{port} refuses me: .* the key SHA256:"):
            enter(keys[0])
        assert time.monotonic() - began < SECONDS / 2
        assert server.offered == 1
        enter(*keys[:2])
        assert server.offered == 3
        program = (
            "import os, select, socket, sys\n"
            "s = socket.create_connection((sys.argv[1], int(sys.argv[2])))\n"
            "while True:\n"
            "    for f in select.select([0, s], [], [])[0]:\n"
            "        data = os.read(0, 65536) if f == 0 else s.recv(65536)\n"
            "        if not data: sys.exit()\n"
            "        s.sendall(data) if f == 0 else os.write(1, data)\n"
        )
        through = tmp_path / "through.py"
        through.write_text(program, encoding="ascii")
        enter(keys[1], proxy=f"{sys.executable} '{through}' 127.0.0.1 {port} 2>/dev/null")


def test_a_name_that_is_unknown_is_reported_at_once(tmp_path: Path) -> None:
    key = paramiko.PKey.from_path(keygen(tmp_path / "key"))
    with pytest.raises(GuestError, match=r"nosuch\.invalid:22 can't be found: ") as raised:
        Ssh("nosuch.invalid", 22, keys=lambda: nullcontext([key]), host_key=None).connect(SECONDS)
    assert not isinstance(raised.value, GuestTimeout)


def test_nothing_is_printed_while_a_connection_is_tried_again(tmp_path: Path) -> None:
    """Of a server that hangs up paramiko would log a traceback at each attempt."""
    attempts = []

    def hang_up(connection: socket.socket) -> None:
        attempts.append(connection)
        connection.sendall(b"SSH-2.0-x\r\n" * (len(attempts) % 2))
        connection.close()

    program = (
        "import sys; from pathlib import Path; from pyharness import GuestTimeout\n"
        "from pyharness.transport.ssh import Ssh\n"
        "ssh = Ssh('127.0.0.1', int(sys.argv[1]), key=Path(sys.argv[2]), host_key=None)\n"
        "try: ssh.connect(1.0)\n"
        "except GuestTimeout: print('in vain')\n"
    )
    with listening(hang_up) as port:
        done = subprocess.run(
            [sys.executable, "-c", program, str(port), str(keygen(tmp_path / "key"))],
            capture_output=True, text=True, timeout=SECONDS, check=False,
        )  # fmt: skip
    assert (done.stdout, done.stderr) == ("in vain\n", "")
    assert len(attempts) > 2
