# SPDX-License-Identifier: GPL-2.0
"""Who may say that a crash is QEMU's fault; needs no guest.

A module can print any line: it must not be able to excuse itself.
"""

from types import SimpleNamespace
from typing import Any

import pytest

from pyharness.errors import EmulatorFault, GuestCrashed
from pyharness.guest.health import Health
from pyharness.guest.history import History
from pyharness.linux import emulator_faults

ASSERTION = "ERROR:../tcg/tcg.c:1:tcg_reg_alloc: assertion failed: (x)"
REGISTERS = (
    "general protection fault: 0000 [#1] SMP",
    "EIP: kmem_cache_alloc+0xc4/0x380",
    "Code: 85 c9 <8b> 75",
    "EAX: c3227000 EBX: c3222000 ECX: 00024900 EDX: 000248e0",
    "ESI: d1e8b828 EDI: c10019c0 EBP: c1fe1e24 ESP: c1fe1e08",
    "DS: 007b ES: 007b FS: 00d8 GS: 0000 SS: 0068 EFLAGS: c3227242",
)
OF_AMD64 = (
    "general protection fault: 0000 [#1] SMP",
    "RIP: 0010:kmem_cache_alloc+0xc4/0x380",
    "Code: 85 c9 <8b> 75",
    "RSP: 0018:ffff88800855fcb0 EFLAGS: ffff888008550286",
)


def crash(console: str, *, printed: str = "", status: str = "running") -> GuestCrashed:
    """The crash that is reported for these outputs."""
    backend: Any = SimpleNamespace(
        facts=SimpleNamespace(accelerator="tcg", timeout_factor=0),
        status=lambda: status,
        console_size=lambda: len(console),
        console_text=lambda _since=0, _most=0: console,
        console_end=lambda: console,
        last_words=lambda: f"{console}\n{printed}",
        printed=lambda: printed,
    )
    health = Health(backend, History(), fresh=True)
    with pytest.raises(GuestCrashed) as caught:
        health.check()
    return caught.value


def test_a_kernels_registers_show_a_fault_of_the_emulator() -> None:
    for lines in (REGISTERS, OF_AMD64):
        assert isinstance(crash("\n".join(lines)), EmulatorFault)
        possible = (
            "\n".join(lines).replace("c3227242", "00000246").replace("ffff88800855", "0" * 12)
        )
        assert not emulator_faults.flags_fault(possible)


def test_a_line_with_flags_is_no_fault_of_the_emulator() -> None:
    for text in ("Oops: 0000 EFLAGS: ffffffff\n", "Oops: 0000\nEFLAGS: ffffffff\n"):
        assert not isinstance(crash(text), EmulatorFault)


def test_an_assertion_counts_if_qemu_itself_has_printed_it() -> None:
    assert not isinstance(crash(ASSERTION, status="ended"), EmulatorFault)
    assert isinstance(crash("", printed=ASSERTION, status="ended"), EmulatorFault)
