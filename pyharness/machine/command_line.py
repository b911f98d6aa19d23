# SPDX-License-Identifier: GPL-2.0
"""Every command line that starts QEMU.

QEMU runs in a folder of its own. Options name the files in that folder without a path, as
QEMU splits options at commas, which a path may have.
"""

from pyharness.machine.accelerator import Accelerator
from pyharness.machine.guest_specs import GuestSpec
from pyharness.machine.kernel import Kernel

DISK = "disk.qcow2"
CONSOLE_LOG = "console.log"
CONSOLE_SOCKET, QMP_SOCKET = "console.sock", "qmp.sock"
# What a guest that is started by for_peers() runs: a program from its second disk.
PEERS_COMMAND = (
    "/bin/sh -c 'mkdir /root/peers && tar -x -C /root/peers -f /dev/vdb &&"
    " chmod -R +x /root/peers && exec python3 /root/peers/peers.py /root/peers /dev/ttyS1'"
)
_BARE = ("-nodefaults", "-no-user-config", "-display", "none")


def for_guest(
    spec: GuestSpec, kernel: Kernel, accel: Accelerator, *, port: int, incoming: str | None = None
) -> list[str]:
    """The command line that runs a guest in its machine's folder.

    Args:
        spec: the guest's description.
        kernel: the guest's kernel. Its disk is DISK in the machine's folder.
        accel: how the guest's instructions are executed.
        port: the port of 127.0.0.1 that is forwarded to the guest's SSH.
        incoming: the name of a file in the machine's folder, with a saved state to resume
            from; None to boot. A shell reads it, and would split other paths.

    Raises:
        HostError: QEMU isn't installed, or does not print its version.
    """
    return [
        spec.qemu,
        "-machine", spec.machine, *accel.arguments(spec),
        "-smp", str(spec.cpus), "-m", str(spec.memory),
        *_BARE,
        # After a panic the machine pauses, so that it can be examined; a reboot ends it.
        "-action", "panic=pause,reboot=shutdown", "-device", spec.panic,
        "-kernel", str(kernel.file), *(["-initrd", str(kernel.initrd)] if kernel.initrd else []),
        "-append",
        f"root=/dev/vda rw console={spec.console} net.ifnames=0 log_buf_len=8M"
        # The kernel reports a CPU that lets nothing else run, before any time limit ends (s).
        f" rcupdate.rcu_cpu_stall_timeout=20 {spec.kernel_options}".rstrip(),
        # The disk is deleted with the machine, so it need not be flushed to the host's.
        "-drive", f"file={DISK},format=qcow2,if=virtio,cache=unsafe,discard=unmap",
        # restrict: the guest can't connect to anything; it only accepts connections on that port.
        "-netdev", f"user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:{port}-:22",
        "-device", "virtio-net-pci,netdev=net,romfile=",
        "-device", "virtio-rng-pci",
        "-chardev",
        f"socket,id=console,path={CONSOLE_SOCKET},server=on,wait=off,logfile={CONSOLE_LOG}",
        "-serial", "chardev:console",
        "-qmp", f"unix:{QMP_SOCKET},server=on,wait=off",
        *spec.qemu_arguments,
        *(["-incoming", f"exec:cat {incoming}"] if incoming else []),
    ]  # fmt: skip


def for_kvm_probe(spec: GuestSpec, kernel: Kernel, console: str) -> list[str]:
    """The command line that tests KVM.

    The kernel has no root file system: if KVM works, it panics.

    Args:
        spec: the guest's description.
        kernel: the kernel to boot.
        console: the name of the file that gets the serial console's output.
    """
    return [
        spec.qemu, "-machine", spec.machine, "-accel", "kvm", "-cpu", "host", "-m", "256",
        *_BARE, "-no-reboot",
        "-serial", f"file:{console}", "-kernel", str(kernel.file),
        "-append", f"console={spec.console} panic=-1",
    ]  # fmt: skip


def for_bench(
    spec: GuestSpec, kernel: Kernel, *, memory: int, initrd: str, console: str
) -> list[str]:
    """The command line that counts instructions: the guest's time counts those it has executed.

    Args:
        spec: the guest's description.
        kernel: the kernel to boot.
        memory: the guest's memory, in MiB.
        initrd: the name of the initramfs, which has everything that the guest needs.
        console: the name of the file that gets the serial console's output.
    """
    return [
        *_counting(spec, memory=memory),
        "-kernel", str(kernel.file), "-initrd", initrd,
        "-append", f"console={spec.console} quiet panic=-1",
        "-serial", f"file:{console}",
    ]  # fmt: skip


def for_peers(
    spec: GuestSpec, kernel: Kernel, *, files: str, console: str, results: str
) -> list[str]:
    """The command line that counts instructions in a guest's whole system.

    The system boots from DISK, then runs what PEERS_COMMAND says instead of its usual services,
    and ends.

    Args:
        spec: the guest's description.
        kernel: the guest's kernel.
        files: the name of a tar archive, which the guest has as its second disk.
        console: the name of the file that gets the first serial port's output.
        results: the name of the file that gets the second serial port's output.
    """
    return [
        *_counting(spec, memory=spec.memory),
        "-kernel", str(kernel.file), *(["-initrd", str(kernel.initrd)] if kernel.initrd else []),
        "-append",
        f"root=/dev/vda rw console={spec.console} quiet panic=-1 {spec.kernel_options}"
        # Audit stays off until a row enables it: what it costs lasts until the guest ends.
        " systemd.mask=systemd-journald-audit.socket systemd.mask=audit-rules.service"
        f' systemd.run="{PEERS_COMMAND}" systemd.run_success_action=reboot-force'
        " systemd.run_failure_action=reboot-force",
        "-drive", f"file={DISK},format=qcow2,if=virtio,cache=unsafe",
        "-drive", f"file={files},format=raw,if=virtio,readonly=on",
        "-serial", f"file:{console}", "-serial", f"file:{results}",
    ]  # fmt: skip


def _counting(spec: GuestSpec, *, memory: int) -> list[str]:
    """The beginning of a command line that counts instructions."""
    return [
        spec.qemu, "-machine", spec.machine, "-accel", "tcg,thread=single",
        "-cpu", spec.cpu, "-smp", "1", "-m", str(memory),
        "-icount", "shift=0,sleep=off",
        *_BARE, "-no-reboot",
    ]  # fmt: skip
