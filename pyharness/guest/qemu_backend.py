# SPDX-License-Identifier: GPL-2.0
"""The backend of the guests that this package starts: a QEMU process with a saved state."""

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pyharness.errors import UsageError
from pyharness.guest.backend import MOST_CONSOLE_BYTES, GuestBackend, GuestFacts
from pyharness.guest.compilers import Compiler, OnHost, WithTree
from pyharness.machine import inspection, lifecycle, root_tree
from pyharness.machine.kernel_tree import KernelTree
from pyharness.machine.qemu_process import Machine
from pyharness.machine.root_tree import RootTree
from pyharness.machine.saved_states import SavedState
from pyharness.transport.console import Console
from pyharness.transport.ssh import Ssh


@dataclass(frozen=True)
class QemuBackend(GuestBackend):
    """A guest in a QEMU process of this user.

    Attributes:
        saved_state: the saved state that the machine was started from.
        machine: the QEMU process.
    """

    saved_state: SavedState
    machine: Machine

    @property
    def facts(self) -> GuestFacts:
        return facts_of(self.saved_state)

    @property
    def persistent(self) -> bool:
        return self.machine.owner is None

    def ssh(self, watch: Callable[[], object]) -> Ssh:
        return self.machine.ssh(self.saved_state.image, watch=watch)

    def host_compiler(self) -> Compiler | None:
        saved = self.saved_state
        if saved.spec.kernel_tree:
            tree_of_kernel = KernelTree(Path(saved.spec.kernel_tree))
            if not saved.kernel.folder.name.endswith(tree_of_kernel.digest()):
                name, folder = saved.spec.name, shlex.quote(str(tree_of_kernel.folder))
                again = f"pyharness down {name}, then pyharness up {name} --kernel {folder}"
                raise UsageError(
                    f"the kernel in {folder} was built again since {name} has booted it:"
                    f" {again if self.persistent else 'start the guest again'}"
                )
            return WithTree(tree_of_kernel)
        tree = self._tree(emulated=False)
        return OnHost(tree) if tree else None

    def root_tree(self) -> RootTree | None:
        return self._tree(emulated=True)

    def _tree(self, *, emulated: bool) -> RootTree | None:
        saved = self.saved_state
        return root_tree.ensure(
            saved.image, saved.kernel, saved.spec.architecture, emulated=emulated
        )

    def memory(self, address: int, size: int) -> bytes:
        return inspection.memory(self.machine, address, size)

    def status(self) -> str:
        status = self.machine.status()
        if status == "io-error":
            raise self.machine.no_room()
        return status

    def console(self) -> Console:
        return self.machine.console(timeout_factor=self.saved_state.accel.timeout_factor)

    def console_size(self) -> int:
        try:
            return self.machine.console_log.stat().st_size
        except FileNotFoundError:
            return 0

    def console_text(self, since: int = 0, most: int = MOST_CONSOLE_BYTES) -> str:
        try:
            with self.machine.console_log.open("rb") as log:
                log.seek(since)
                return log.read(most).decode(errors="replace")
        except FileNotFoundError:
            return ""

    def last_words(self) -> str:
        return self.machine.last_words()

    def printed(self) -> str:
        return self.machine.printed()

    def pause(self) -> None:
        self.machine.qmp("stop")

    def resume(self) -> None:
        self.machine.qmp("cont")

    def instruction_pointers(self) -> list[int]:
        return inspection.instruction_pointers(self.machine)

    def inject_nmi(self) -> None:
        self.machine.qmp("inject-nmi")

    def end(self) -> None:
        lifecycle.end(self.machine)


def facts_of(saved_state: SavedState) -> GuestFacts:
    """Return the facts about the guests that are started from a saved state; none need run."""
    spec, kernel, accel = saved_state.spec, saved_state.kernel, saved_state.accel
    return GuestFacts(
        name=spec.name,
        architecture=spec.architecture,
        syscalls=spec.syscalls,
        cpus=spec.cpus,
        release=kernel.release,
        vermagic=saved_state.vermagic,
        exports=saved_state.exports,
        config=saved_state.config,
        headers=f"{kernel.folder.name} {kernel.release} {kernel.version} {saved_state.vermagic}",
        accelerator=accel.name,
        accelerator_reason=accel.reason,
        timeout_factor=accel.timeout_factor,
        checks_slabs=spec.checks_slabs,
    )
