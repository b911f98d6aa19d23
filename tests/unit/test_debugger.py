# SPDX-License-Identifier: GPL-2.0
"""How gdb is run, with a program in its place; needs no guest."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pyharness.guest.gdb import debugger
from pyharness.guest.gdb.debugger import Description


@contextmanager
def gdb_server() -> Iterator[tuple[str, tuple[int, ...]]]:
    """QEMU's socket for gdb, and the file descriptors that gdb inherits."""
    yield "socket", ()


BACKEND: Any = SimpleNamespace(
    facts=SimpleNamespace(architecture="amd64"), machine=SimpleNamespace(gdb_server=gdb_server)
)


@pytest.mark.parametrize(
    ("end", "status"), [("exit 3", 3), ("kill -SEGV $$", 128 + signal.SIGSEGV)]
)
def test_the_exit_status_is_that_of_gdb(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str, status: int
) -> None:
    gdb = tmp_path / "gdb"
    gdb.write_text(f'#!/bin/sh\ncase "$*" in *-batch*) exit 0; esac\n{end}\n', encoding="ascii")
    gdb.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    described = Description(first_argument="$rdi", pointer=8)
    assert debugger.run(BACKEND, described, ()) == status
