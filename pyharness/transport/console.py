# SPDX-License-Identifier: GPL-2.0
"""The root shell on a guest's serial console: slow, and there when the network is not."""

import os
import re
import select
import socket
import sys
import termios
import time
import tty
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pexpect
from pexpect.socket_pexpect import SocketSpawn

from pyharness.errors import GuestError, GuestTimeout
from pyharness.host.closing import Closes

_WINDOW = 4096
# What is read at once must be less, or the window passes over a part of it.
_CHUNK = _WINDOW // 2
_LEAVE = b"\x1d"
# How often a wait looks at the clock and at the machine (s); see Clock.
_LOOK_SECONDS = 1.0
# What a system says that does not get to its prompt.
_NO_BOOT = rb"Kernel panic[^\r\n]*[\r\n]|You are in emergency mode|\(initramfs\)"


class Console(Closes):
    """The root shell that waits on a guest's serial console."""

    def __init__(
        self,
        folder: Path,
        guest: str,
        *,
        timeout_factor: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Connect to it.

        Args:
            folder: the machine's, in which the console's socket is.
            guest: the guest's name, for error messages.
            timeout_factor: what time limits are multiplied by.
            clock: the seconds that time limits are counted in.

        Raises:
            GuestError: the machine is gone.
        """
        self._timeout_factor = timeout_factor
        self._clock = clock
        self.socket = socket.socket(socket.AF_UNIX)
        opened = os.open(folder, os.O_PATH)
        try:
            self.socket.connect(f"/proc/self/fd/{opened}/console.sock")
        except OSError as error:
            self.socket.close()
            raise GuestError(f"the console of {guest} can't be had: {error}") from error
        finally:
            os.close(opened)
        self._spawn = SocketSpawn(
            self.socket, timeout=None, searchwindowsize=_WINDOW, maxread=_CHUNK
        )

    def close(self) -> None:
        """Leave the console to others."""
        self.socket.close()

    def wait_boot(self, seconds: float, *, watch: Callable[[], object] = lambda: None) -> None:
        """Wait until the guest has booted to its prompt.

        Args:
            seconds: how long it may take on real hardware.
            watch: called now and then meanwhile; raises if waiting is in vain.

        Raises:
            GuestError: its kernel panicked, or its system stopped before that.
            GuestTimeout: it did not get there.
        """
        found, text, _ = self._expect([rb"automatic login", _NO_BOOT], seconds, watch=watch)
        if found == 1:
            raise GuestError(f"the guest does not boot: {text.rstrip()}")

    def run(self, command: str, *, seconds: float) -> tuple[int, str]:
        """Run a command in the console's shell.

        Args:
            command: one line for the shell.
            seconds: how long it may take on real hardware.

        Returns:
            Its exit status, and what came out of the console meanwhile: the
            kernel's own messages may stand between the command's lines.
        """
        # The marker's two halves are apart in what is typed, so that its echo doesn't match.
        mark = uuid.uuid4().hex
        begin, done = f"<{mark}", f"{mark}>"
        self._spawn.send(f"echo '<''{mark}'; {command}; echo '{mark}'\">\"$?.\n".encode())
        self._expect([re.escape(begin.encode()) + rb"\r?\n"], seconds)
        _, text, before = self._expect([re.escape(done.encode()) + rb"(\d+)\."], seconds)
        status = text.removeprefix(done).removesuffix(".")
        return int(status), before.replace("\r\n", "\n")

    def _expect(
        self, patterns: list[bytes], seconds: float, *, watch: Callable[[], object] = lambda: None
    ) -> tuple[int, str, str]:
        """Which pattern came first, what matched it, and what came before it."""
        # What pexpect declares is too narrow. The last pattern: nothing came for a while.
        wanted: list[Any] = [*patterns, pexpect.TIMEOUT]
        compiled = self._spawn.compile_pattern_list(wanted)
        end = self._clock() + seconds * self._timeout_factor
        try:
            while (found := self._look(compiled)) == len(patterns):
                watch()
                if self._clock() > end:
                    limit = f"{seconds * self._timeout_factor:.0f} s"
                    raise GuestTimeout(f"the serial console did not say {patterns[0]!r} in {limit}")
        except (pexpect.EOF, OSError) as error:
            raise GuestError("the serial console has ended") from error
        after, before = self._spawn.after, self._spawn.before
        assert isinstance(after, bytes)
        assert isinstance(before, bytes)
        return found, after.decode(errors="replace"), before.decode(errors="replace")

    def _look(self, compiled: list[Any]) -> int:
        return int(self._spawn.expect_list(compiled, timeout=_LOOK_SECONDS))

    def interact(self) -> None:
        """Connect this terminal to it, until Ctrl-] or the machine's end."""
        stdin = sys.stdin.fileno()
        kept = termios.tcgetattr(stdin) if os.isatty(stdin) else None
        if kept:
            tty.setraw(stdin)
        try:
            self.socket.sendall(b"\n")
            while True:
                ready, _, _ = select.select([stdin, self.socket], [], [])
                if self.socket in ready:
                    if not (data := self.socket.recv(_WINDOW)):
                        return
                    os.write(sys.stdout.fileno(), data)
                if stdin in ready:
                    data = os.read(stdin, _WINDOW)
                    if not data or _LEAVE in data:
                        return
                    self.socket.sendall(data)
        finally:
            if kept:
                with suppress(termios.error):  # a terminal that was closed
                    termios.tcsetattr(stdin, termios.TCSADRAIN, kept)
