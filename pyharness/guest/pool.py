# SPDX-License-Identifier: GPL-2.0
"""Guests that the tests of one process share, one for each number of CPUs."""

from collections.abc import Callable, Iterable
from contextlib import suppress

from pyharness.errors import GuestError, HarnessError
from pyharness.guest.guest import Guest
from pyharness.host.closing import Closes
from pyharness.machine import guest_specs
from pyharness.machine.guest_specs import GuestSpec

# A guest with more CPUs than _FEW_CPUS gets _MEMORY MiB instead of what its description says.
_FEW_CPUS = 2
_MEMORY = 1024


def with_cpus(name: str, cpus: int) -> GuestSpec:
    """Return the description of a guest with a number of CPUs; 0: as many as usual."""
    return guest_specs.find(name, cpus=cpus, memory=_MEMORY * (cpus > _FEW_CPUS))


class GuestPool(Closes):
    """Running guests, one for each number of CPUs.

    The guests that the current test does not use are paused: under emulation even an idle guest
    takes a fifteenth of a CPU.

    Attributes:
        lost: the guests that did not answer any more when they were asked for again, and why. They
            are shared no more; the caller may take them from the list, and closes them then.
    """

    def __init__(self, usual: Callable[[], Guest], name: str, *, boots: bool) -> None:
        """Make an empty pool; guests are started when they are first asked for.

        Args:
            usual: starts, or connects to, the guest with the usual number of CPUs.
            name: the name of the description from which all other guests are started.
            boots: whether other guests can be started. If not, the one of ``usual`` is the only
                one.
        """
        self._usual = usual
        self._boots = boots
        self._name = name
        self._guests: dict[int, Guest] = {}
        self._current = 0
        self.lost: list[tuple[Guest, HarnessError]] = []

    def guest(self, cpus: int = 0) -> Guest:
        """Return the shared guest with a number of CPUs, started if necessary; pause the others.

        One that is lost since it was last used, as its kernel has crashed, is replaced.

        Args:
            cpus: the number of CPUs; 0: as many as usual.
        """
        self._current = cpus
        self._pause(known for other, known in self._guests.items() if other != cpus)
        self.resume()
        if known := self._guests.get(cpus):
            self._drop_if_lost(known)
        if cpus not in self._guests:
            self._guests[cpus] = self.fresh(cpus) if cpus else self._usual()
        return self._guests[cpus]

    def pause(self) -> None:
        """Pause all shared guests, until resume() or guest()."""
        self._pause(self._guests.values())

    def resume(self) -> None:
        """Resume the guest that was asked for last, if pause() paused it."""
        if self._current in self._guests:
            with suppress(GuestError):  # whoever asks for it again gets another one
                self._guests[self._current].resume()

    def _pause(self, guests: Iterable[Guest]) -> None:
        for guest in guests if self._boots else ():
            with suppress(GuestError):  # as above
                guest.pause()

    def _drop_if_lost(self, guest: Guest) -> None:
        try:
            guest.log.fetch()
        except HarnessError as error:
            self.take_out(guest)
            self.lost.append((guest, error))

    def fresh(self, cpus: int = 0) -> Guest:
        """Start a guest that is not shared, in its state right after boot; the caller closes it.

        Args:
            cpus: the number of CPUs; 0: as many as usual.
        """
        spec = with_cpus(self._name, cpus)
        return Guest.boot(spec.name, cpus=spec.cpus, memory=spec.memory)

    def discard(self, guest: Guest) -> None:
        """Close a guest; the next request for one with its number of CPUs starts another."""
        self.take_out(guest)
        guest.close()

    def take_out(self, guest: Guest) -> None:
        """Share a guest no more; the caller closes it, as late as is wanted."""
        self._guests = {cpus: known for cpus, known in self._guests.items() if known is not guest}
        if self._boots:  # a guest that ``usual`` only connected to may be gone for good
            self._usual = self.fresh

    def close(self) -> None:
        """Close all shared guests, and those that are lost."""
        for guest in [*self._guests.values(), *(lost for lost, _ in self.lost if not lost.closed)]:
            self.discard(guest)
