# SPDX-License-Identifier: GPL-2.0
"""The backend of the guests that this package starts: a QEMU process with a saved state."""

from collections.abc import Callable
from dataclasses import dataclass

from pyharness.guest.backend import MOST_CONSOLE_BYTES, GuestBackend, GuestFacts
from pyharness.machine import lifecycle
from pyharness.machine.qemu_process import Machine
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

    def console_text(self, since: int = 0) -> str:
        try:
            with self.machine.console_log.open("rb") as log:
                log.seek(since)
                return log.read(MOST_CONSOLE_BYTES).decode(errors="replace")
        except FileNotFoundError:
            return ""

    def last_words(self) -> str:
        return self.machine.last_words()

    def pause(self) -> None:
        self.machine.qmp("stop")

    def resume(self) -> None:
        self.machine.qmp("cont")

    def instruction_pointers(self) -> list[int]:
        return self.machine.instruction_pointers()

    def inject_nmi(self) -> None:
        self.machine.qmp("inject-nmi")

    def end(self) -> None:
        lifecycle.end(self.machine)


def facts_of(saved_state: SavedState) -> GuestFacts:
    """Return the facts about the guests that are started from a saved state; none need run."""
    spec, image, accel = saved_state.spec, saved_state.image, saved_state.accel
    return GuestFacts(
        name=spec.name,
        architecture=spec.architecture,
        syscalls=spec.syscalls,
        cpus=spec.cpus,
        release=image.release,
        vermagic=saved_state.vermagic,
        exports=saved_state.exports,
        headers=f"{image.folder.name} {image.release} {image.version} {saved_state.vermagic}",
        accelerator=accel.name,
        accelerator_reason=accel.reason,
        timeout_factor=accel.timeout_factor,
    )
