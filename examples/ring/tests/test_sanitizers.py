# SPDX-License-Identifier: GPL-2.0
"""Faults that only kernels for debugging report. Each is put into a copy of the module's source.

    pytest --guest=bookworm-amd64-debug --guest=bookworm-amd64-kcsan

Other kernels run the same code without a report, so these tests are deselected there.
"""

import os
import shutil
from pathlib import Path

import pytest

from pyharness import Guest, GuestCrashed

FREED_TOO_EARLY = {"\tmisc_deregister(&ring);\n": "\tkfree(bytes);\n\tbytes[0] = 0;\n"
                   "\tmisc_deregister(&ring);\n\treturn;\n"}  # fmt: skip
WITHOUT_LOCK = {"mutex_lock(&lock);": "", "mutex_unlock(&lock);": ""}


def changed(source: Path, target: Path, changes: dict[str, str]) -> Path:
    """Copy the module's source, and replace some of its text."""
    for name in ("Kbuild", "Makefile", "ring.c"):
        shutil.copy(source / name, target)
    text = (target / "ring.c").read_text(encoding="utf-8")
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    (target / "ring.c").write_text(text, encoding="utf-8")
    return target


@pytest.mark.debug_kernel("KASAN")
@pytest.mark.xfail(raises=GuestCrashed, strict=True, reason="KASAN sees a write to freed memory")
def test_memory_that_is_freed_is_not_written(
    guest: Guest, module_folder: Path, tmp_path: Path
) -> None:
    guest.load(changed(module_folder, tmp_path, FREED_TOO_EARLY)).unload()


@pytest.mark.debug_kernel("KCSAN")
@pytest.mark.xfail(raises=GuestCrashed, strict=True, reason="KCSAN sees writes without the lock")
def test_two_writers_do_not_race(guest: Guest, module_folder: Path, tmp_path: Path) -> None:
    guest.load(changed(module_folder, tmp_path, WITHOUT_LOCK))
    guest.wait("udev to make the device", lambda: guest.run("test -c /dev/ring").status == 0)
    writers = [guest.actor("nobody") for _ in range(2)]
    for writer in writers:
        device = writer.open("/dev/ring", os.O_RDWR)
        writer.begin("write", device.fd, bytes(16), 16, repeat=20_000)
    for writer in writers:
        writer.finish()
