# SPDX-License-Identifier: GPL-2.0
"""A module that is checked is loaded if the kernel loads it; needs no guest."""

import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from pyharness.errors import ModuleRefused
from pyharness.guest import guest as guests
from pyharness.guest.backend import GuestFacts
from pyharness.guest.guest import Guest
from pyharness.interceptor.interface import Interface
from pyharness.interceptor.rules import subject as subjects
from pyharness.interceptor.rules.subject import Subject

_VERMAGIC = "5.10.0-42-686-pae SMP mod_unload modversions 686 "


@pytest.fixture
def guest(tmp_path: Path) -> Guest:
    """A guest to which a file can be written."""
    (tmp_path / "exports").write_text("0x00000001\t_printk\tvmlinux\tEXPORT_SYMBOL\t\n")
    facts = SimpleNamespace(exports=tmp_path / "exports", architecture="i386", vermagic=_VERMAGIC)

    def inspect(ko: Path, *, any_license: bool = False) -> object:
        return guests.inspect(ko, cast("GuestFacts", facts), any_license=any_license)

    files: dict[str, bytes] = {}

    def put(data: bytes, target: str) -> None:
        files[target] = data

    health = SimpleNamespace(lines={})
    return cast("Guest", SimpleNamespace(inspect=inspect, put=put, health=health, modules={}))


def module(folder: Path, *info: str) -> Subject:
    lines = "".join(f'.asciz "{line}"\n' for line in (*info, f"vermagic={_VERMAGIC}"))
    (folder / "m.s").write_text(f'.section .modinfo, "a"\n{lines}.text\n', encoding="ascii")
    subprocess.run(["as", "--32", "-o", folder / "m.ko", folder / "m.s"], check=True)
    numbers = Interface(custom_syscall=0, commands={}, status=None)
    return Subject(name="m", ko=folder / "m.ko", interface=numbers)


@pytest.mark.parametrize("info", [(), ("license=GPLv2",), ("license=Proprietary",)])
def test_the_kernel_decides_about_the_license(
    guest: Guest, tmp_path: Path, info: tuple[str, ...]
) -> None:
    """It loads a module of any license that uses no GPL symbols, and modpost refuses the others."""
    checked = module(tmp_path, *info)
    subjects.bring(guest, checked)
    assert guest.modules == {"m": checked.ko}
    with pytest.raises(ModuleRefused, match="license"):
        guest.inspect(checked.ko)
