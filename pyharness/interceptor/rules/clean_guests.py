# SPDX-License-Identifier: GPL-2.0
"""The guests in which rules are tried, each as it was before any module was loaded."""

from pyharness.errors import EmulatorFault, GuestCrashed, GuestError, HarnessError
from pyharness.guest.guest import Guest
from pyharness.guest.pool import with_cpus
from pyharness.host import cache, json_store
from pyharness.host.closing import Closes
from pyharness.host.progress import Progress
from pyharness.interceptor import command_programs
from pyharness.interceptor.rules import kernel, subject
from pyharness.interceptor.rules.kernel import SyscallTable
from pyharness.interceptor.rules.trial import Kernel, Trial

_ATTEMPTS = 2  # to start a guest that QEMU may emulate wrongly


class CleanGuests(Closes):
    """Guests of one name with different numbers of CPUs, of which one runs at a time.

    One thread uses them; close() may be called by another, and ends what that thread does.

    Attributes:
        release: the release of their kernel; empty as long as none was started.
    """

    def __init__(self, name: str, progress: Progress) -> None:
        """Start no guest yet.

        Args:
            name: the name of the guests.
            progress: shows the steps that take long.
        """
        self.release = ""
        self._name = name
        self._progress = progress
        self._guests: dict[int, tuple[Guest, Kernel]] = {}
        self._closed = False

    def close(self) -> None:
        """End the guests."""
        self._closed = True
        for cpus in [*self._guests]:
            self.discard(cpus)

    def ready(self, cpus: int) -> tuple[Guest, Kernel]:
        """Return a clean guest, and what is known of its kernel. The guest is started if need be.

        Args:
            cpus: the number of its CPUs; 0 for as many as usual.

        Raises:
            GuestError: close() was called.
        """
        self._check_open()
        for other in self._guests.keys() - {cpus}:
            self._set_going(other, going=False)
        self._set_going(cpus, going=True)
        found = self._guests.get(cpus) or self._start(cpus)
        self._check_open()
        return found

    def _set_going(self, cpus: int, *, going: bool) -> None:
        """Pause or resume a guest, if there is one; discard one that is lost.

        What a module has left behind may end the QEMU of a guest that nobody uses.
        """
        guest, _ = self._guests.get(cpus, (None, None))
        if not guest:
            return
        try:
            if going:
                guest.resume()
            else:
                guest.pause()
        except GuestError:
            self.discard(cpus)

    def _start(self, cpus: int) -> tuple[Guest, Kernel]:
        """Start a guest; once more if it can't be used by a fault of QEMU's.

        Raises:
            GuestError: it can't be started.
        """
        for _ in range(_ATTEMPTS):
            try:
                self._guests[cpus] = self._boot(cpus)
            except EmulatorFault as error:
                fault = error
            else:
                return self._guests[cpus]
        # No EmulatorFault: that would count as the module's, which is not in this guest yet.
        raise GuestError(str(fault)) from fault

    def _boot(self, cpus: int) -> tuple[Guest, Kernel]:
        spec = with_cpus(self._name, cpus)
        guest = Guest.boot(spec.name, cpus=spec.cpus, memory=spec.memory, progress=self._progress)
        try:
            self.release = guest.facts.release
            return guest, known(guest)
        except BaseException:
            guest.close()
            raise

    def _check_open(self) -> None:
        if self._closed:
            self.close()  # what was started meanwhile
            raise GuestError("the check has ended")

    def discard(self, cpus: int) -> None:
        """End the guest with a number of CPUs, if there is one: it is not clean any more."""
        if found := self._guests.pop(cpus, None):
            found[0].close()


def is_clean(guest: Guest, trial: Trial) -> bool:
    """Return whether a guest is as it was before a module was loaded, after unloading it.

    A kernel that unloading crashes is not clean. Rules of their own decide about unloading; it
    costs no other rule.

    Args:
        guest: the guest.
        trial: a trial of the module.

    Raises:
        GuestCrashed: the kernel crashed before the module was unloaded.
    """
    try:
        guest.dismiss()
        loaded = subject.is_loaded(guest, trial.subject)
        guest.health.check()
    except GuestCrashed:
        raise
    except HarnessError:
        return False
    try:
        if loaded:
            trial.unload()
            guest.health.check()
        return not trial.left_behind()
    except HarnessError:
        return False


def known(guest: Guest) -> Kernel:
    """Return what the rules need to know of a guest's kernel; most of it from the cache.

    Each guest that is started from the same saved state has the same. The guest is clean: what is
    compiled in it is for all modules that are checked on this host.

    Args:
        guest: a guest in which no module was loaded yet.
    """
    path = cache.folder() / "rules" / f"{guest.qemu.saved_state.folder.name}.json"
    found = json_store.read(path, {"count": int, "address": int})
    if not found:
        count = kernel.number_of_syscalls(guest)
        found = {"count": count, "address": kernel.find_table(guest, count).address}
        path.parent.mkdir(exist_ok=True)
        json_store.write(path, found)
    kernel.mount_tracefs(guest)
    table = SyscallTable(found["address"], found["count"], guest.syscalls.bytes_of_long)
    return Kernel(
        number_of_syscalls=found["count"],
        table=table,
        clean=kernel.footprint(guest, table),
        programs={name: command_programs.build(guest, name) for name in command_programs.NAMES},
    )
