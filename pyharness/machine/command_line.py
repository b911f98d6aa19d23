# SPDX-License-Identifier: GPL-2.0
"""Every command line by which QEMU is started. Pure.

QEMU runs in a folder of its own, and files in that folder are given by name alone: it splits
paths in options at commas.
"""

from pyharness.machine.accelerator import Accelerator
from pyharness.machine.guest_specs import GuestSpec
from pyharness.machine.image import Image

DISK = "disk.qcow2"
CONSOLE_LOG = "console.log"
CONSOLE_SOCKET, QMP_SOCKET = "console.sock", "qmp.sock"
_BARE = ("-nodefaults", "-no-user-config", "-display", "none")


def for_guest(
    spec: GuestSpec, image: Image, accel: Accelerator, *, port: int, incoming: str | None = None
) -> list[str]:
    """How QEMU is called, in the machine's own folder.

    Args:
        spec: the guest.
        image: its image; DISK in that folder is what it writes to.
        accel: how its instructions are carried out.
        port: the port of 127.0.0.1 that leads to the guest's SSH.
        incoming: a file with the saved state to go on from, by its name in that folder:
            a shell reads it, which would split other paths.
    """
    return [
        spec.qemu,
        "-machine", spec.machine, *accel.arguments(spec),
        "-smp", str(spec.cpus), "-m", str(spec.memory),
        *_BARE,
        # A panic leaves the machine as it is, to be looked at, and a reboot ends it.
        "-action", "panic=pause,reboot=shutdown", "-device", spec.panic,
        "-kernel", str(image.kernel), "-initrd", str(image.initrd),
        "-append",
        f"root=/dev/vda rw console={spec.console} net.ifnames=0 log_buf_len=8M"
        # The kernel reports a CPU that lets nobody else run before any time limit ends (s).
        " rcupdate.rcu_cpu_stall_timeout=20",
        # The disk is thrown away with the machine: no need to wait for the host's.
        "-drive", f"file={DISK},format=qcow2,if=virtio,cache=unsafe,discard=unmap",
        # restrict: the guest reaches nothing but what connects to it through that port.
        "-netdev", f"user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:{port}-:22",
        "-device", "virtio-net-pci,netdev=net,romfile=",
        "-device", "virtio-rng-pci",
        "-chardev",
        f"socket,id=console,path={CONSOLE_SOCKET},server=on,wait=off,logfile={CONSOLE_LOG}",
        "-serial", "chardev:console",
        "-qmp", f"unix:{QMP_SOCKET},server=on,wait=off",
        *(["-incoming", f"exec:cat {incoming}"] if incoming else []),
    ]  # fmt: skip


def for_kvm_probe(spec: GuestSpec, image: Image, console: str) -> list[str]:
    """How QEMU is called to see whether KVM works: without a root file system the kernel panics.

    Args:
        spec: the guest.
        image: whose kernel it is.
        console: the name of the file that its serial console is written to.
    """
    return [
        spec.qemu, "-machine", spec.machine, "-accel", "kvm", "-cpu", "host", "-m", "256",
        *_BARE, "-no-reboot",
        "-serial", f"file:{console}", "-kernel", str(image.kernel),
        "-append", f"console={spec.console} panic=-1",
    ]  # fmt: skip


def for_bench(
    spec: GuestSpec, image: Image, *, memory: int, initrd: str, console: str
) -> list[str]:
    """How QEMU is called to count instructions: its time is what the guest has carried out.

    Args:
        spec: the guest.
        image: whose kernel it is.
        memory: of the guest, in MiB.
        initrd: the name of the file with all that the guest needs.
        console: the name of the file that its serial console is written to.
    """
    return [
        spec.qemu, "-machine", spec.machine, "-accel", "tcg,thread=single",
        "-cpu", spec.cpu, "-smp", "1", "-m", str(memory),
        "-icount", "shift=0,sleep=off",
        *_BARE, "-no-reboot",
        "-kernel", str(image.kernel), "-initrd", initrd,
        "-append", f"console={spec.console} quiet panic=-1",
        "-serial", f"file:{console}",
    ]  # fmt: skip
