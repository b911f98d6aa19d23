# SPDX-License-Identifier: GPL-2.0
"""What the two testers check that the handout comes with, line by line, and by which rule.

The first one prints 14 lines, the second one 31; the lines of the first are among those of the
second. What each line asks for is stated here in the words of the rules.
"""

import errno
import random
from collections.abc import Iterator
from pathlib import Path

from pyharness import Actor, CheckFailed, Guest, GuestError, interceptor
from pyharness.interceptor import Command, Interceptor

CALL = "open"
_UNKNOWN = 100  # no command
# Each line of the second tester: the rule that asks for the same, and whether the first tester
# has the line, too. Some show what the line before has left behind, which another rule asks for.
LINES = (
    ("loads", True),
    ("unknown-command", True),
    *[("number-custom", True)] * 2,
    *[("number-range", True)] * 2,
    *[("intercept-release", True)] * 3,
    ("intercept-twice", True),
    *[("root-only", True)] * 2,
    *[("own-only", False)] * 5,
    ("start-twice", False),
    ("log-line start-twice", False),
    ("own-only", False),
    ("stop-unmonitored", False),
    ("pid-range", False),
    *[("all-processes", False)] * 2,
    ("start-stop all-processes", False),
    ("own-only", False),
    ("start-stop", False),
    ("own-only", False),
    ("exit-cleans", False),
    ("intercept-release", True),
    ("unload-restores", True),
)


def results(guest: Guest, folder: Path) -> list[bool]:
    """Build and load a module, and return of each line of LINES whether it passes.

    The first one that the guest does not survive fails, and is the last.
    """
    built = guest.build(folder)
    found: list[bool] = []
    try:
        guest.load_ko(built.ko)
        found.append(True)
        found.extend(_lines(interceptor.attach(guest, folder, built.name)))
        found.append(not guest.run(["rmmod", built.name]).status)
    except (GuestError, CheckFailed):
        found.append(False)
    return found


def _lines(module: Interceptor) -> Iterator[bool]:
    guest = module.guest

    def ask(
        command: Command | int, call: str | int, pid: int, wanted: int, by: Actor | None = None
    ) -> bool:
        by = by or guest.root
        return module.command(command, call, pid, by=by).errno == wanted

    root, init = guest.root.pid, 1
    yield ask(_UNKNOWN, 0, 0, errno.EINVAL)
    for number in (module.interface.custom_syscall, -1):
        yield ask(Command.INTERCEPT, number, root, errno.EINVAL)
        yield ask(Command.RELEASE, number, root, errno.EINVAL)
    yield ask(Command.INTERCEPT, "exit", root, 0)
    yield ask(Command.RELEASE, "exit", root, 0)
    yield ask(Command.INTERCEPT, CALL, root, 0)
    yield ask(Command.INTERCEPT, CALL, root, errno.EBUSY)

    nobody = guest.actor("nobody")
    yield ask(Command.INTERCEPT, CALL, nobody.pid, errno.EPERM, nobody)
    yield ask(Command.RELEASE, CALL, nobody.pid, errno.EPERM, nobody)
    for pid in (0, init):
        yield ask(Command.START, CALL, pid, errno.EPERM, nobody)
        yield ask(Command.STOP, CALL, pid, errno.EPERM, nobody)
    yield ask(Command.START, CALL, nobody.pid, 0, nobody)
    yield ask(Command.START, CALL, nobody.pid, errno.EBUSY, nobody)
    yield _is_logged(module, nobody)
    yield ask(Command.STOP, CALL, nobody.pid, 0, nobody)
    yield ask(Command.STOP, CALL, nobody.pid, errno.EINVAL, nobody)

    yield ask(Command.START, CALL, -2, errno.EINVAL)
    yield ask(Command.START, CALL, 0, 0)
    yield ask(Command.STOP, CALL, 0, 0)
    yield ask(Command.START, CALL, init, 0)
    yield ask(Command.STOP, CALL, init, errno.EPERM, nobody)
    yield ask(Command.STOP, CALL, init, 0)
    guest_user = guest.actor("nobody")
    yield ask(Command.START, CALL, guest_user.pid, 0, guest_user)
    guest_user.exit()
    guest_user.reap()
    yield ask(Command.STOP, CALL, guest_user.pid, errno.EINVAL)
    yield ask(Command.RELEASE, CALL, root, 0)


def _is_logged(module: Interceptor, actor: Actor) -> bool:
    """Whether a call with six random arguments gets the line that the handout asks for."""
    args = [random.getrandbits(31) for _ in range(6)]
    mark = module.guest.log.mark()
    actor.syscall(CALL, *args)
    number = module.guest.syscalls.number(CALL)
    wanted = f"[{actor.pid:x}]{number:x}({','.join(f'{arg:x}' for arg in args)})"
    return any(wanted in record.text for record in module.guest.log.since(mark))
