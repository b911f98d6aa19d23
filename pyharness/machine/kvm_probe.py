# SPDX-License-Identifier: GPL-2.0
"""Find out whether KVM works on this host: boot a kernel, and remember the result.

That ``/dev/kvm`` exists and can be opened proves nothing. On some machines (nested ones, PVM)
a stock kernel hangs under KVM at its first instructions, with the CPU at 100 %.
"""

import subprocess
import tempfile
import time
from pathlib import Path

from pyharness.host import cache, children, signals
from pyharness.host.cpu_time import Clock
from pyharness.machine import command_line
from pyharness.machine.accelerator import Accelerator, known_accelerator, remember, tcg
from pyharness.machine.guest_specs import GuestSpec
from pyharness.machine.kernel import Kernel

# Under KVM a kernel panics 2 s after its start; one that hangs never does.
_PROBE_SECONDS = 10.0


def choose(spec: GuestSpec, kernel: Kernel) -> Accelerator:
    """The accelerator of a guest; the first time after the host's boot, finding it takes seconds.

    Args:
        spec: the guest's description.
        kernel: the guest's kernel, which is booted.

    Raises:
        UsageError: ``PYHARNESS_ACCEL`` is neither ``kvm`` nor ``tcg``.
    """
    if known := known_accelerator(spec):
        return known
    with cache.locked("accel"):
        if known := known_accelerator(spec):
            return known
        answer = _probe(spec, kernel)
        remember(spec, answer)
    return answer


def _probe(spec: GuestSpec, kernel: Kernel) -> Accelerator:
    """Boot the kernel without a root file system: where KVM works, it panics."""
    begin = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        console = Path(folder) / "console"
        command = command_line.for_kvm_probe(spec, kernel, console.name)
        process = children.start(
            command,
            cwd=Path(folder),  # QEMU may dump core
            stderr=subprocess.DEVNULL,
        )
        with signals.ended(process):
            clock = Clock(process.pid, children=True)
            while process.poll() is None:
                if clock() > _PROBE_SECONDS:
                    process.kill()
                    return tcg(
                        "/dev/kvm can be opened, but a kernel hangs under KVM"
                        f" (tried for {_PROBE_SECONDS} s)"
                    )
                time.sleep(0.1)
            if b"Kernel panic" in (console.read_bytes() if console.exists() else b""):
                took = time.monotonic() - begin
                return Accelerator(name="kvm", reason=f"a kernel booted under it in {took:.1f} s")
    return tcg("/dev/kvm can be opened, but QEMU exits when it uses KVM")
