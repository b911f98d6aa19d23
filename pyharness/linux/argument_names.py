# SPDX-License-Identifier: GPL-2.0
"""Which constants the parameters of system calls take, and values as their names. Pure.

The values are those of the guest's C headers; those of signals are the same everywhere. Neither the
headers nor a library say which parameter takes which constants.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import reduce
from operator import or_

from pyharness.linux.number_forms import permissions
from pyharness.linux.signal_names import SIGNALS

# What defines the constants, in C; a header that a guest lacks is left out.
HEADERS = (
    "linux/eventpoll.h",
    "linux/fcntl.h",
    "linux/futex.h",
    "linux/fs.h",
    "linux/ipc.h",
    "linux/memfd.h",
    "linux/mman.h",
    "linux/random.h",
    "linux/resource.h",
    "linux/sched.h",
    "linux/shm.h",
    "linux/signal.h",
    "linux/time.h",
    "linux/wait.h",
    "sys/socket.h",
    "unistd.h",
)


@dataclass(frozen=True)
class Names:
    """The constants that a parameter takes, as patterns of their names.

    Attributes:
        choices: those of which a value has one, in the bits of ``mask``.
        flags: those of which a value has any number: patterns, separated by spaces, in the order
            in which they are shown. Those of one pattern are shown in the order of their values. A
            constant that is 0 stands for none.
        mask: the constant with the bits of the choice. Empty: all bits that are not of flags.
        signals: whether the choices are all signals.
        choice_last: whether the choice is shown after the flags.
        permissions: whether the last nine bits are permissions, which are shown in octal.
    """

    choices: str = ""
    flags: str = ""
    mask: str = ""
    signals: bool = False
    choice_last: bool = False
    permissions: bool = False


_SOCKET_FLAGS = "SOCK_CLOEXEC SOCK_NONBLOCK"
# FUNCTION.PARAMETER, by the kernel's names of both.
_TAKERS = {
    Names(
        "O_(RDONLY|WRONLY|RDWR|ACCMODE)",
        "O_CREAT O_EXCL O_NOCTTY O_TRUNC O_APPEND O_NONBLOCK O_SYNC __O_SYNC O_DSYNC O_DIRECT"
        " O_LARGEFILE O_NOFOLLOW O_NOATIME O_CLOEXEC O_PATH O_TMPFILE __O_TMPFILE O_[A-Z]+ FASYNC",
        "O_ACCMODE",
    ): "open.flags openat.flags",
    Names(flags="O_(CLOEXEC|DIRECT|NONBLOCK)"): "dup3.flags pipe2.flags",
    Names(flags="R_OK W_OK X_OK F_OK"): "access.mode faccessat.mode faccessat2.mode",
    Names(flags="AT_(SYMLINK_NOFOLLOW|NO_AUTOMOUNT|EMPTY_PATH)"): "fstatat64.flag newfstatat.flag",
    Names(flags="AT_REMOVEDIR"): "unlinkat.flag",
    Names("SEEK_[A-Z]+"): "llseek.whence lseek.whence",
    Names(flags="PROT_[A-Z]+"): "mmap.prot mmap_pgoff.prot mprotect.prot pkey_mprotect.prot",
    # MAP_HUGE_2MB and the like are numbers in the uppermost bits, one of which has another name.
    Names(
        "MAP_(SHARED|PRIVATE|SHARED_VALIDATE|DROPPABLE)",
        "MAP_FIXED MAP_ANONYMOUS MAP_32BIT MAP_NORESERVE MAP_POPULATE MAP_NONBLOCK"
        " MAP_(?!FILE|HUGE_|UNINITIALIZED)[A-Z0-9_]+",
        "MAP_TYPE",
    ): "mmap.flags mmap_pgoff.flags",
    Names(flags="MREMAP_[A-Z]+"): "mremap.flags",
    Names("MADV_[A-Z_]+"): "madvise.behavior",
    Names(flags="MFD_(?!HUGE_)[A-Z_]+"): "memfd_create.flags",
    Names(signals=True): "kill.sig pidfd_send_signal.sig rt_sigaction.sig rt_sigqueueinfo.sig"
    " rt_tgsigqueueinfo.sig sigaction.sig signal.sig tgkill.sig tkill.sig",
    Names("SIG_[A-Z]+"): "rt_sigprocmask.how sigprocmask.how",
    Names(
        flags="CLONE_[A-Z_]+", mask="CSIGNAL", signals=True, choice_last=True
    ): "clone.clone_flags",
    Names(flags="CLONE_[A-Z_]+"): "setns.flags unshare.unshare_flags",
    Names(
        flags="WNOHANG WEXITED WSTOPPED WCONTINUED WNOWAIT __WCLONE __WALL __WNOTHREAD"
    ): "wait4.options waitid.options waitpid.options",
    Names("CLOCK_[A-Z_]+"): "clock_getres.which_clock clock_gettime.which_clock"
    " clock_nanosleep.which_clock clock_settime.which_clock",
    Names(flags="TIMER_ABSTIME"): "clock_nanosleep.flags timer_settime.flags",
    Names("RLIMIT_[A-Z]+"): "getrlimit.resource old_getrlimit.resource prlimit64.resource"
    " setrlimit.resource",
    Names("AF_(?!LOCAL|FILE|MAX)[A-Z0-9]+"): "socket.family socketpair.family",
    Names("SOCK_(?!CLOEXEC|NONBLOCK)[A-Z]+", _SOCKET_FLAGS): "socket.type socketpair.type",
    Names(flags=_SOCKET_FLAGS): "accept4.flags",
    Names("EPOLL_CTL_[A-Z]+"): "epoll_ctl.op",
    Names(flags="IPC_(CREAT|EXCL|NOWAIT)", permissions=True): "msgget.msgflg semget.semflg",
    Names(flags="IPC_(CREAT|EXCL) SHM_(HUGETLB|NORESERVE)", permissions=True): "shmget.shmflg",
    Names(flags="EPOLL_CLOEXEC"): "epoll_create1.flags",
    Names(flags="GRND_[A-Z]+"): "getrandom.flags",
    Names(
        "FUTEX_(WAIT|WAKE|WAKE_OP|(CMP_)?REQUEUE|(UN|TRY)?LOCK_PI2?|(WAIT|WAKE)_BITSET"
        "|(WAIT|CMP)_REQUEUE_PI)(_PRIVATE)?",
        "FUTEX_CLOCK_REALTIME",
    ): "futex.op",
}
# The same, by FUNCTION.PARAMETER.
TAKEN = {taker: names for names, takers in _TAKERS.items() for taker in takers.split()}


def of(
    function: str, parameter: str, constants: Mapping[str, int]
) -> Callable[[int], str | None] | None:
    """Return what shows a parameter's values as strace does: ``O_WRONLY|O_CREAT|0x40000000``.

    It returns None for a value, at least 0, no part of which has a name.

    Args:
        function: the name of the system call's function, by the kernel.
        parameter: the parameter's name, by the kernel.
        constants: the constants; of two with the same value, the first is shown.

    Returns:
        It; None if the parameter takes no constants.
    """
    names = TAKEN.get(f"{function}.{parameter}")
    return None if names is None else _Values(names, constants).text


class _Values:
    """The constants that a parameter takes."""

    def __init__(self, names: Names, constants: Mapping[str, int]) -> None:
        self._choices = SIGNALS if names.signals else _matching(names.choices, constants)
        flags = _matching(names.flags, constants)
        self._none = flags.pop(0, "0") if self._choices or flags else None
        self._mask = constants.get(names.mask, ~reduce(or_, flags, 0))
        self._flags = {bits: name for bits, name in flags.items() if not bits & self._mask}
        # O_SYNC is O_DSYNC and another bit: a name for more of the bits goes before.
        self._most_bits_first = sorted(self._flags, key=lambda bits: -bits.bit_count())
        self._choice_last = names.choice_last
        self._permissions = 0o777 if names.permissions else 0

    def text(self, value: int) -> str | None:
        """Return the names of a value; None if no part of it has one."""
        if not value and 0 not in self._choices and not self._permissions:
            return self._none
        choice = self._choices.get(value & self._mask)
        rest = value if choice is None else value & ~self._mask
        found = set()
        for bits in self._most_bits_first:
            if rest & bits == bits:
                rest &= ~bits
                found.add(bits)
        parts = [name for bits, name in self._flags.items() if bits in found]
        if choice:
            parts.insert(len(parts) if self._choice_last else 0, choice)
        if more := rest & ~self._permissions if parts or self._permissions else 0:
            parts.append(f"{more:#x}")
        if self._permissions:
            parts.append(permissions(rest & self._permissions))
        return "|".join(parts) or None


def _matching(patterns: str, constants: Mapping[str, int]) -> dict[int, str]:
    """Return the first name that matches one of the patterns for each value, in their order."""
    found: dict[int, str] = {}
    for pattern in patterns.split():
        these: dict[int, str] = {}
        for name, value in constants.items():
            if value >= 0 and re.fullmatch(pattern, name):
                these.setdefault(value, name)
        for value in sorted(these):
            found.setdefault(value, these[value])
    return found
