# SPDX-License-Identifier: GPL-2.0
"""Talks to QEMU's monitor by its protocol, QMP."""

import asyncio
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from qemu.qmp import ConnectError, ExecuteError, QMPClient, QMPError

from pyharness.errors import GuestError, GuestTimeout
from pyharness.host import lasting_thread
from pyharness.machine.command_line import QMP_SOCKET

# A command's name, or a tuple of its name and arguments.
Command = str | tuple[str, dict[str, Any]]
# QEMU listens at once after it has created its socket; the host may be busy.
_LISTEN_SECONDS = 30.0


def execute(
    folder: Path, *commands: Command, guest: str, alive: Callable[[], bool], seconds: float
) -> Any:
    """Run QMP commands, one after another.

    Args:
        folder: the folder that has QEMU's socket.
        commands: the commands.
        guest: the guest's name, for error messages.
        alive: whether QEMU runs.
        seconds: the time limit for all commands.

    Returns:
        The last command's result.

    Raises:
        GuestError: QEMU is gone, or refuses a command.
        GuestTimeout: QEMU does not answer in time.
    """
    talk = asyncio.wait_for(_talk(folder, commands, alive), seconds)
    try:
        return lasting_thread.run(talk)
    except TimeoutError as error:
        raise GuestTimeout(f"QEMU of {guest} does not answer its monitor") from error
    except ExecuteError as error:
        raise GuestError(f"QEMU of {guest} refuses a command: {error}") from error
    # qemu.qmp 0.0.6 asserts that QEMU does not hang up right after the greeting.
    except (QMPError, OSError, AssertionError) as error:
        said = str(error) or "it has ended the connection"
        raise GuestError(f"QEMU of {guest} does not answer by QMP: {said}") from error


async def _talk(folder: Path, commands: tuple[Command, ...], alive: Callable[[], bool]) -> Any:
    client = QMPClient("pyharness")
    try:
        # Through the folder's descriptor the path is short enough for a socket's address.
        opened = os.open(folder, os.O_PATH)
        try:
            await _connect(client, f"/proc/self/fd/{opened}/{QMP_SOCKET}", alive)
        finally:
            os.close(opened)
        answer: Any = None
        for command in commands:
            name, arguments = command if isinstance(command, tuple) else (command, None)
            answer = await client.execute(name, arguments)
        return answer
    finally:
        with suppress(EOFError):  # QEMU has hung up
            await client.disconnect()


async def _connect(client: QMPClient, path: str, alive: Callable[[], bool]) -> None:
    """Connect to QEMU; try again if it refuses.

    It does so between the socket's bind() and listen().
    """
    end = time.monotonic() + _LISTEN_SECONDS
    while True:
        try:
            return await client.connect(path)
        except ConnectError as error:
            refused = isinstance(error.exc, ConnectionRefusedError)
            if not refused or not alive() or time.monotonic() > end:
                raise
        await asyncio.sleep(0.01)
