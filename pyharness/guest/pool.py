# SPDX-License-Identifier: GPL-2.0
"""Guests that the tests of one process share, by their number of CPUs."""

from collections.abc import Callable

from pyharness.guest.guest import Guest
from pyharness.machine import guest_specs
from pyharness.machine.guest_specs import GuestSpec

# A guest with more CPUs than this has more memory, too (MiB).
_FEW_CPUS = 2
_MEMORY = 1024


def with_cpus(name: str, cpus: int) -> GuestSpec:
    """The description of a guest with so many CPUs (0: as many as usual)."""
    return guest_specs.find(name, cpus=cpus, memory=_MEMORY * (cpus > _FEW_CPUS))


class GuestPool:
    """Guests by their number of CPUs (0: as many as usual).

    One that crashed is thrown away. One that no test uses now is paused: under
    emulation even an idle one takes a fifteenth of a CPU.
    """

    def __init__(self, usual: Callable[[], Guest], name: str, *, boots: bool) -> None:
        """Nothing is started yet.

        Args:
            usual: gives the guest with as many CPUs as usual.
            name: of the others' description.
            boots: whether there can be others.
        """
        self._usual = usual
        self._boots = boots
        self._name = name
        self._guests: dict[int, Guest] = {}

    def guest(self, cpus: int = 0) -> Guest:
        """A guest that is shared, started if it does not run."""
        for other, resting in self._guests.items():
            if other != cpus and self._boots:
                resting.pause()
        if cpus not in self._guests:
            self._guests[cpus] = self.fresh(cpus) if cpus else self._usual()
        self._guests[cpus].resume()
        return self._guests[cpus]

    def fresh(self, cpus: int = 0) -> Guest:
        """A guest of one's own, as it was right after its boot."""
        spec = with_cpus(self._name, cpus)
        return Guest.boot(spec.name, cpus=spec.cpus, memory=spec.memory)

    def discard(self, guest: Guest) -> None:
        """End a guest; whoever asks for one like it has another."""
        self._guests = {cpus: known for cpus, known in self._guests.items() if known is not guest}
        guest.close()
        if self._boots:  # somebody else's may be lost with it
            self._usual = self.fresh

    def close(self) -> None:
        """End all guests."""
        for guest in [*self._guests.values()]:
            self.discard(guest)
