# SPDX-License-Identifier: GPL-2.0
"""The fixtures of the plugin: guests, modules, actors and the kernel log."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from pyharness.errors import GuestError, UsageError
from pyharness.guest.actor import Actor
from pyharness.guest.faults import Faults
from pyharness.guest.guest import Guest
from pyharness.guest.kernel_log import KernelLogOfTest
from pyharness.guest.loaded import LoadedModule
from pyharness.guest.pool import GuestPool
from pyharness.guest.result import Result
from pyharness.pytest_plugin import markers, options, watching
from pyharness.pytest_plugin.guest_use import GuestUse
from pyharness.pytest_plugin.target import Target, targets_of


@pytest.fixture(scope="session")
def guest_target(request: pytest.FixtureRequest) -> Target:
    """Which guest the test is executed in; a parameter of the test if there are several."""
    target: Target | None = getattr(request, "param", None)
    if target is None:
        target, *others = targets_of(request.config)
        if others:
            raise UsageError(
                "a test that is run in several guests has to take its fixtures as arguments"
            )
    return target


@pytest.fixture(scope="session")
def lab(pytestconfig: pytest.Config, guest_target: Target) -> Iterator[GuestPool]:
    """The pool of the guests that the tests of this run share."""
    if guest_target.failure:
        raise guest_target.failure.with_traceback(None)
    with GuestPool(guest_target.enter, guest_target.name, boots=guest_target.boots) as shared:
        watching.share(pytestconfig, shared)
        yield shared


@pytest.fixture
def guest(request: pytest.FixtureRequest, lab: GuestPool) -> Iterator[Guest]:
    """A running guest, shared by tests; a report of trouble by its kernel fails the test."""
    # Also if begin() raises.
    request.addfinalizer(partial(watching.report_losses, request.node))  # noqa: PT021
    fresh = request.node.get_closest_marker("fresh_guest") is not None
    use = watching.begin(request.node, lab, markers.cpus_of(request.node), fresh=fresh)
    yield use.guest
    if not watching.goes_on(request.node):
        return
    try:
        use.guest.dismiss()
        use.examine()
        warned = use.has_warned()
    except GuestError:
        watching.spoil(request.node, use)  # it is discarded once the debugger has ended
        raise
    if fresh:
        use.guest.close()
    elif warned:  # its kernel is tainted, and a WARN_ONCE() would not warn again
        lab.discard(use.guest)


@pytest.fixture(scope="session")
def module_folder(pytestconfig: pytest.Config) -> Path:
    """The folder of the module to test; a project may override it."""
    return options.module_folder_of(pytestconfig)


@pytest.fixture(scope="session")
def module_parameters() -> dict[str, str | int]:
    """The parameters to load the module with: none; a project may override it."""
    return {}


@pytest.fixture
def module(
    pytestconfig: pytest.Config,
    guest: Guest,
    module_folder: Path,
    module_parameters: dict[str, str | int],
) -> Iterator[LoadedModule]:
    """The module, built, and loaded for the test; it is unloaded after the test."""
    name = pytestconfig.getini("module_name")
    loaded = guest.load(module_folder, name, **module_parameters)
    yield loaded
    if not guest.closed and guest.is_loaded(loaded.name):
        guest.dismiss()  # an actor may have a file of the module open
        loaded.unload()


@pytest.fixture
def root(guest: Guest) -> Actor:
    """A process of root in the guest, which issues system calls for the test."""
    return guest.actor("root")


@pytest.fixture
def nobody(guest: Guest) -> Actor:
    """A process of nobody in the guest, which issues system calls for the test."""
    return guest.actor("nobody")


@pytest.fixture
def actor(guest: Guest) -> Callable[[str], Actor]:
    """A function that starts a process in the guest, of the user whose name it is given."""
    return guest.actor


@pytest.fixture
def fail_allocations(guest: Guest) -> Callable[..., Iterator[Result]]:
    """A function that issues a system call with one request for memory after the other failing.

    The kernel has to have FAILSLAB; the marker ``debug_kernel("FAILSLAB")`` says so.
    """
    return Faults(guest).of_call


@pytest.fixture
def kernel_log(request: pytest.FixtureRequest, guest: Guest) -> KernelLogOfTest:
    """A function that returns what the kernel has logged since the test began."""
    use: GuestUse = watching.use_of(request.node)
    assert use.guest is guest
    return use.records
