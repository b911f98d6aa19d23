# SPDX-License-Identifier: GPL-2.0
"""The root shell on a guest's serial console: slow, but it works without a network."""

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

# How much of the latest output is searched for a pattern (bytes).
_WINDOW = 4096
# A read must be shorter than the window, or a part of it would never be searched.
_CHUNK = _WINDOW // 2
_LEAVE = b"\x1d"  # Ctrl-]
# How often a wait checks the clock and the machine; cpu_time.Clock says how often it must.
_LOOK_SECONDS = 1.0
# Output of a guest that does not boot to its prompt.
_NO_BOOT = rb"Kernel panic[^\r\n]*[\r\n]|You are in emergency mode|\(initramfs\)"


class Console(Closes):
    """A client of the root shell on a guest's serial console."""

    def __init__(
        self,
        folder: Path,
        guest: str,
        *,
        timeout_factor: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Connect to the console.

        Args:
            folder: the machine's folder, which has the console's socket.
            guest: the guest's name, for error messages.
            timeout_factor: the factor by which time limits are multiplied.
            clock: returns the seconds in which time limits are counted.

        Raises:
            GuestError: the console can't be connected to, as when the machine has ended.
        """
        self._timeout_factor = timeout_factor
        self._clock = clock
        self.socket = socket.socket(socket.AF_UNIX)
        opened = os.open(folder, os.O_PATH)
        try:
            self.socket.connect(f"/proc/self/fd/{opened}/console.sock")
        except OSError as error:
            self.socket.close()
            raise GuestError(f"the console of {guest} can't be connected to: {error}") from error
        finally:
            os.close(opened)
        self._spawn = SocketSpawn(
            self.socket, timeout=None, searchwindowsize=_WINDOW, maxread=_CHUNK
        )

    def close(self) -> None:
        """Disconnect from the console; the guest keeps running."""
        self.socket.close()

    def wait_boot(self, seconds: float, *, watch: Callable[[], object] = lambda: None) -> None:
        """Wait until the guest has booted to its prompt.

        Args:
            seconds: the time limit on real hardware.
            watch: called about once a second meanwhile; raises to give up.

        Raises:
            GuestError: the kernel panicked, the boot stopped at a rescue shell, or the console
                ended.
            GuestTimeout: the guest did not boot in time.
        """
        found, text, _ = self._expect([rb"automatic login", _NO_BOOT], seconds, watch=watch)
        if found == 1:
            raise GuestError(f"the guest does not boot: {text.rstrip()}")

    def run(self, command: str, *, seconds: float) -> tuple[int, str]:
        """Run a command in the console's shell.

        Args:
            command: one line for the shell.
            seconds: the time limit on real hardware.

        Returns:
            The command's exit status, and the console's output meanwhile, in which the kernel's
            messages may stand between the command's lines.

        Raises:
            GuestError: the console ended.
            GuestTimeout: the command did not end in time.
        """
        # The typed line has each marker in two parts, so that its echo does not match.
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
        """Wait for the first of several patterns.

        Returns:
            The index of the pattern, the text that matched it, and the text before that.
        """
        # pexpect's type annotation is too narrow. TIMEOUT matches if no pattern came for a while.
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
        """Connect this terminal to the console, until Ctrl-], end of input or the machine's end."""
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
                with suppress(termios.error):  # the terminal was closed
                    termios.tcsetattr(stdin, termios.TCSADRAIN, kept)
