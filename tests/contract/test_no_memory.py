# SPDX-License-Identifier: GPL-2.0
"""Memory runs short at each request for it: the error is ENOMEM, and nothing has changed.

On stock kernels the module's own requests fail. Kernels with FAILSLAB have all those fail that the
kernel makes on its behalf, too.
"""

import errno
import os
import re
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest
from arch import hooked
from broken import Change, write

from pyharness import Actor, Guest, interceptor
from pyharness.guest.result import Result
from pyharness.interceptor import Command, Interceptor
from pyharness.interceptor.rules.slabs import held, wait_back
from pyharness.linux.syscalls import SyscallRef

FAILING = Path(__file__).parents[1] / "programs" / "failing.h"
FAIL_AT = "/sys/module/interceptor/parameters/fail_at"
CALL = "sched_rr_get_interval"
# Each is intercepted for the first time: what that needs is kept from then on.
FRESH = ("getpgid", "getsid", "capget", "umask", "sched_yield", "getpriority", "fchdir", "fsync")
# Where what an entry consists of, and refers to, is allocated.
KEPT_IN = re.compile(r"kmalloc-(cg-)?(32|64)|pid|radix_tree_node")
# With the kernel's requests failing; kmemleak looks for what is lost meanwhile, where there is one.
REALLY = pytest.mark.parametrize(
    "watched", ["errors", pytest.param("leaks", marks=pytest.mark.leaks_nothing)]
)
Fails = Callable[..., Iterator[Result]]
OWN_HEADER = '#include "interceptor.h"\n'


@pytest.fixture
def failing(tmp_path: Path) -> Path:
    """The module's folder, with memory running short where the parameter fail_at says."""
    folder = write(tmp_path / "module", Change(OWN_HEADER, '#include "failing.h"\n' + OWN_HEADER))
    (folder / FAILING.name).write_bytes(FAILING.read_bytes())
    return folder


@pytest.fixture
def short(bare_guest: Guest, failing: Path, parameters: dict[str, str]) -> Iterator[Interceptor]:
    """That module, loaded; a user may have one process recorded."""
    built = bare_guest.build(failing)
    bare_guest.load_ko(built.ko, user_entries=1, **parameters)
    module = interceptor.attach(bare_guest, failing, built.name)
    yield module
    if not bare_guest.closed:
        module.unload()


def fail_at(guest: Guest, number: int) -> None:
    """Have the request of that number, counted from now on, fail."""
    with guest.root.open(FAIL_AT, os.O_WRONLY) as parameter:
        parameter.write(str(number).encode())


def left(guest: Guest) -> int:
    """How many requests there were too few."""
    return int(guest.agent.read(FAIL_AT))


def failures(module: Interceptor, attempt: Callable[[int], Result]) -> int:
    """Attempt a command until it gets all the memory that it asks for.

    Returns:
        how often it failed.
    """
    for number in count():
        before = module.status()
        fail_at(module.guest, number + 1)
        result = attempt(number)
        if left(module.guest):
            fail_at(module.guest, 0)
            assert result.value == 0
            return number
        assert result.errno == errno.ENOMEM, number
        assert module.status() == before, number
    raise AssertionError


def test_load(bare_guest: Guest, failing: Path, parameters: dict[str, str]) -> None:
    guest = bare_guest
    built = guest.build(failing)
    guest.put(built.ko.read_bytes(), "/root/failing.ko")
    before = hooked(guest)

    def failed_loads(log: str) -> int:
        """Load the module until it gets all the memory that it asks for."""
        options = " ".join(f"{key}={value}" for key, value in {**parameters, "log": log}.items())
        for number in count(1):
            loading = guest.run(f"insmod /root/failing.ko {options} fail_at={number}")
            if not loading.status:
                assert left(guest)  # no failure was taken for none
                guest.run(["rmmod", built.name]).check()
                return number - 1
            assert "Cannot allocate memory" in loading.stderr, number
            assert not guest.is_loaded(built.name)
            assert hooked(guest) == before
            assert guest.run("ls -d /proc/interceptor /dev/interceptor").stdout == ""
        raise AssertionError

    failed = failed_loads("printk")
    assert failed >= 5
    assert failed_loads("ring") == failed + 2  # the memory and the device


def test_intercept_and_release(short: Interceptor, *, by_table: bool) -> None:
    failed = failures(short, lambda number: short.intercept(FRESH[number]))
    assert failed >= 2
    assert short.start(FRESH[failed], 1).value == 0
    assert bool(failures(short, lambda _: short.release(FRESH[failed]))) == by_table
    assert short.status() == {}


def test_start_and_stop(short: Interceptor, nobody: Actor) -> None:
    """A user's entry is counted once it is there, and root's is not."""
    with short.intercepted(CALL):
        assert failures(short, lambda _: short.start(CALL, nobody.pid)) == 2
        assert short.stop(CALL, nobody.pid).value == 0
        for _ in range(2):
            assert failures(short, lambda _: short.start(CALL, nobody.pid, by=nobody)) == 3
            assert failures(short, lambda _: short.stop(CALL, nobody.pid, by=nobody)) == 0
        assert failures(short, lambda _: short.start(CALL)) == 0
        assert failures(short, lambda _: short.stop(CALL, nobody.pid, by=nobody)) == 3
        assert failures(short, lambda _: short.start(CALL, nobody.pid, by=nobody)) == 0
        assert failures(short, lambda _: short.stop(CALL)) == 0


def test_a_failed_command_leaks_nothing(short: Interceptor, nobody: Actor) -> None:
    guest = short.guest
    rounds = 30
    with short.intercepted(CALL):
        before: dict[str, int] = {}
        for attempt in range(rounds + 5):
            if attempt == 5:
                before = held(guest)
            for number in (1, 2, 3):
                fail_at(guest, number)
                result = short.start(CALL, nobody.pid, by=nobody)
                assert result.errno == errno.ENOMEM
        watched = [name for name in before if KEPT_IN.fullmatch(name)]
        assert not wait_back(guest, before, more=dict.fromkeys(watched, rounds // 2))


@REALLY
@pytest.mark.debug_kernel("FAILSLAB")
@pytest.mark.test_limit(1800)  # loads the module hundreds of times
def test_load_with_the_kernels_requests_failing(
    bare_guest: Guest, fail_allocations: Fails, parameters: dict[str, str], watched: str
) -> None:
    guest = bare_guest
    built = guest.build(interceptor.MODULE)
    guest.put(built.ko.read_bytes(), "/root/interceptor.ko")
    options = " ".join(f"{name}={value}" for name, value in parameters.items())
    before = hooked(guest)
    failed = 0
    with guest.root.open("/root/interceptor.ko", os.O_RDONLY) as ko:
        for result in fail_allocations(guest.root, "finit_module", ko.fd, options, 0):
            if result.errno:
                failed += 1
                assert result.errno == errno.ENOMEM
                assert not guest.is_loaded(built.name)
                assert guest.run("ls /proc | grep interceptor").stdout == ""
            else:  # the kernel can do without some of what it asks for
                module = interceptor.attach(guest, interceptor.MODULE, built.name)
                if not result.injected:
                    module.prove()
                assert module.status() == {}
                module.unload()
            assert hooked(guest) == before
    assert failed > 20


@REALLY
@pytest.mark.debug_kernel("FAILSLAB")
@pytest.mark.test_limit(600)
def test_commands_with_the_kernels_requests_failing(
    module: Interceptor, root: Actor, nobody: Actor, fail_allocations: Fails, watched: str
) -> None:
    custom = module.interface.custom_syscall
    failed = 0

    def attempt(call: SyscallRef, command: Command, undo: Command, pid: int) -> None:
        """Issue a command until it gets all the memory that the kernel asks for."""
        nonlocal failed
        before = module.status()
        value = module.interface.commands[command]
        for result in fail_allocations(root, custom, value, call.number, pid):
            if result.errno:
                failed += 1
                assert result.errno == errno.ENOMEM
                assert module.status() == before
            elif result.injected:  # the kernel can do without some of what it asks for
                assert module.command(undo, call, pid).value == 0
                before = module.status()  # an interception that was released has no list any more

    for name in FRESH:  # what the first interception needs is kept
        call = module.guest.syscalls.ref(name)
        attempt(call, Command.INTERCEPT, Command.RELEASE, 0)
        for pid in (nobody.pid, 0):
            attempt(call, Command.START, Command.STOP, pid)
            attempt(call, Command.STOP, Command.START, pid)
        attempt(call, Command.START, Command.STOP, 0)
        attempt(call, Command.STOP, Command.START, nobody.pid)
        attempt(call, Command.RELEASE, Command.INTERCEPT, 0)
    assert failed > len(FRESH)
    assert module.status() == {}
