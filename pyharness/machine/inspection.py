# SPDX-License-Identifier: GPL-2.0
"""Reads a guest's memory and registers by QEMU, even if the guest's kernel does not respond."""

import re

from pyharness.errors import GuestError
from pyharness.machine.qemu_process import Machine

# The name of a file with memory that is being read.
_MEMORY = "memory"


def memory(machine: Machine, address: int, size: int) -> bytes:
    """Read the kernel's memory, even if the kernel has crashed.

    Args:
        machine: the guest's machine.
        address: a virtual address.
        size: in bytes.

    Raises:
        GuestError: QEMU is gone, or no CPU has the address mapped.
        GuestTimeout: QEMU does not answer.
    """
    signed = address - (1 << 64) if address >= 1 << 63 else address
    arguments = {"val": signed, "size": size, "filename": _MEMORY}
    cpus = [cpu["cpu-index"] for cpu in machine.qmp("query-cpus-fast")]
    for cpu in cpus:
        try:
            machine.qmp(("memsave", arguments | {"cpu-index": cpu}))
            return (machine.folder / _MEMORY).read_bytes()
        except GuestError:  # it runs a program, whose page tables lack the kernel
            if cpu == cpus[-1]:
                raise
        finally:
            (machine.folder / _MEMORY).unlink(missing_ok=True)
    raise GuestError(f"QEMU of {machine.guest} has no CPU")


def instruction_pointers(machine: Machine) -> list[int]:
    """The instruction pointer of each of the guest's CPUs, even if its kernel does not respond.

    Raises:
        GuestError: QEMU is gone, or the command failed.
        GuestTimeout: QEMU does not answer.
    """
    return parse(machine.monitor("info registers -a"))


def parse(registers: str) -> list[int]:
    """The instruction pointer of each CPU, from the output of ``info registers -a``. Pure."""
    return [int(found, 16) for found in re.findall(r"\b(?:[ER]IP|PC)=([0-9a-f]+)", registers)]
