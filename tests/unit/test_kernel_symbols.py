# SPDX-License-Identifier: GPL-2.0
"""What gdb knows of a kernel's functions is all or nothing; the guest is a stand-in."""

import errno
import os
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from pyharness.guest.gdb import kernel_symbols
from pyharness.guest.guest import Guest
from pyharness.guest.qemu_backend import QemuBackend

TEXT = "".join(f"{0xFFFFFFFF81000000 + 16 * n:x} T function_{n}\n" for n in range(8000))


@pytest.fixture
def backend(tmp_path: Path) -> QemuBackend:
    return cast("QemuBackend", SimpleNamespace(saved_state=SimpleNamespace(folder=tmp_path)))


@pytest.fixture
def guest() -> Guest:
    return cast("Guest", SimpleNamespace(get=lambda _path: TEXT.encode()))


def test_the_functions_are_known_after_a_crash(backend: QemuBackend, guest: Guest) -> None:
    kernel_symbols.keep(backend, guest)
    assert len(kernel_symbols.functions(backend, None)) == 8000


def test_a_name_may_have_any_bytes(backend: QemuBackend) -> None:
    """It may be that of a module's function."""
    said = TEXT.encode() + b"ffffffffc0000000 t odd_\xff\t[odd]\n"
    odd = cast("Guest", SimpleNamespace(get=lambda _path: said))
    for guest in (odd, None):
        assert len(kernel_symbols.functions(backend, guest)) == 8000


def test_half_the_functions_are_not_kept(
    backend: QemuBackend, guest: Guest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the disk is full: the file is cut off where 64 KiB are written."""
    real = Path.open

    def limited(path: Path, mode: str = "r", **options: str) -> object:
        file = real(path, mode, **options)  # type: ignore[call-overload]
        if "r" in mode:
            return file

        def write(text: str) -> None:
            os.write(file.fileno(), text.encode()[: 1 << 16])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        file.write = write
        return file

    monkeypatch.setattr(Path, "open", limited)
    assert len(kernel_symbols.functions(backend, guest)) == 8000
    monkeypatch.undo()
    assert kernel_symbols.functions(backend, None) == []
    kernel_symbols.keep(backend, guest)
    assert len(kernel_symbols.functions(backend, None)) == 8000
