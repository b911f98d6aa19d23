# SPDX-License-Identifier: GPL-2.0
"""Which guests the tests of a run are executed in, and what is known about them."""

import fnmatch
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

from pyharness.errors import GuestTimeout, HarnessError, UsageError
from pyharness.guest import ssh_backend
from pyharness.guest.backend import GuestFacts
from pyharness.guest.guest import Guest
from pyharness.guest.pool import with_cpus
from pyharness.guest.qemu_backend import facts_of
from pyharness.host.progress import TerminalProgress
from pyharness.machine import guest_specs, saved_states
from pyharness.machine.guest_specs import DEFAULT_GUEST
from pyharness.pytest_plugin import options, vagrant
from pyharness.transport import ssh_address
from pyharness.transport.ssh_address import Address

VAGRANT = "vagrant"
_ALL = "all"
PARAMETER = "guest_target"  # the fixture by which a test gets its target


@dataclass(eq=False)
class Target:
    """A guest in which the tests of a run are executed.

    Attributes:
        name: the guest's name, or its address.
        architecture: its architecture, as Debian calls it.
        enter: starts, or connects to, the guest that tests share.
        boots: whether more guests like it can be started.
        description: what kind of guest it is, for the line about the guest; may be empty.
        facts: the facts about it; None until they are known.
        failure: why it can't be used; None if nothing is known to be wrong.
    """

    name: str
    architecture: str
    enter: Callable[[], Guest]
    boots: bool = True
    description: str = ""
    facts: GuestFacts | None = None
    failure: HarnessError | None = field(default=None, repr=False)

    def __str__(self) -> str:
        if self.failure:
            return f"{self.name}: {str(self.failure).splitlines()[0]}"
        if not self.facts:
            return self.name
        how = f"{self.facts.accelerator} ({self.facts.accelerator_reason})"
        if not self.boots:
            how = "accelerator unknown"
        described = f"{self.name}, kernel {self.facts.release}, {how}"
        return f"{described}, {self.description}" if self.description else described


_TARGETS = pytest.StashKey[tuple[Target, ...]]()


def targets_of(config: pytest.Config) -> tuple[Target, ...]:
    """Return the targets of this run, at least one, which are determined on first use.

    Raises:
        pytest.UsageError: the options or the configuration name no usable guest.
    """
    if _TARGETS not in config.stash:
        with options.as_usage_error():
            config.stash[_TARGETS] = _find(config)
    return config.stash[_TARGETS]


def named_targets(config: pytest.Config) -> tuple[Target, ...]:
    """Return the targets of this run if options or configuration name them; otherwise none.

    Raises:
        pytest.UsageError: they name no usable guest.
    """
    named = (config.getini("guest"), config.getoption("guest"), config.getoption("ssh"))
    return targets_of(config) if any(named) else ()


def known_targets(config: pytest.Config) -> list[Target]:
    """Return the targets of this run about which enough is known to describe them."""
    return [one for one in config.stash.get(_TARGETS, ()) if one.facts or one.failure]


def target_of(item: pytest.Item) -> Target:
    """Return the target that a test is executed in."""
    parameters = getattr(getattr(item, "callspec", None), "params", {})
    found: Target = parameters.get(PARAMETER) or targets_of(item.config)[0]
    return found


def make_ready(config: pytest.Config, target: Target, *cpus: int) -> None:
    """Make a target's image and saved states before the first test, and show the progress.

    It does nothing for a target of which no more guests can be started. If there are several
    targets, the tests of one that can't be made ready fail, and the others go on.

    Args:
        config: the configuration of this run.
        target: the target.
        *cpus: the numbers of CPUs for which guests are needed; 0, as by default: as many as
            usual.

    Raises:
        pytest.UsageError: the only target of this run can't be made ready.
    """
    if not target.boots or target.failure:
        return
    capture = config.pluginmanager.getplugin("capturemanager")  # None with -p no:capture
    try:
        with capture.global_and_fixture_disabled() if capture else nullcontext():
            for number in cpus or (0,):
                spec = with_cpus(target.name, number)
                target.facts = facts_of(saved_states.ensure(spec, progress=TerminalProgress()))
    except HarnessError as error:
        if len(targets_of(config)) == 1:
            raise pytest.UsageError(f"pyharness: {error}") from error
        target.failure = error


def _find(config: pytest.Config) -> tuple[Target, ...]:
    named: list[str] = config.getoption("guest") or []
    if config.getoption("ssh"):
        if named:
            raise UsageError("--ssh names the guest: without --guest")
        key = config.getoption("ssh_key")
        address = ssh_address.parse(
            config.getoption("ssh"),
            user=config.getoption("ssh_user"),
            key=options.absolute(config, Path(key).expanduser()) if key else None,
        )
        return (_elsewhere(config, address, "reached only by SSH"),)
    note = ""
    if not named and vagrant.is_likely(config.rootpath):
        try:
            return (_vagrants(config),)
        except GuestTimeout:
            note = "not Vagrant's, which did not answer in time"
        except HarnessError:
            pass  # nobody has asked for it
    if not named:
        ini = config.getini("guest")
        named = [ini if ini and ini != "default" else DEFAULT_GUEST]
    names = _expanded(named)
    return tuple(
        _vagrants_or_failure(config, several=len(names) > 1)
        if name == VAGRANT
        else _bootable(name, note)
        for name in names
    )


def _expanded(named: list[str]) -> list[str]:
    """Return the names of guests that names, patterns and ``all`` stand for, each once.

    Raises:
        UsageError: a pattern matches no guest.
    """
    known = [*guest_specs.load()]
    found: dict[str, None] = {}
    for name in named:
        alike = known if name == _ALL else fnmatch.filter(known, name)
        if not alike and name != VAGRANT and any(sign in name for sign in "*?["):
            raise UsageError(f"no guest matches {name!r}; there are: {', '.join(known)}")
        found |= dict.fromkeys(alike or [name])
    return [*found]


def _bootable(name: str, description: str) -> Target:
    spec = guest_specs.find(name)
    boot = partial(Guest.boot, spec.name)
    return Target(spec.name, spec.architecture, boot, description=description)


def _elsewhere(config: pytest.Config, address: Address, description: str) -> Target:
    """Return a target that is reached only by SSH, after connecting to it once."""
    _alone(config, f"{address} is one guest")
    with ssh_backend.enter(address) as guest:
        facts = guest.facts
    return Target(
        facts.name,
        facts.architecture,
        lambda: ssh_backend.enter(address),
        boots=False,
        description=description,
        facts=facts,
    )


def _vagrants(config: pytest.Config) -> Target:
    """Return the target for the guest that Vagrant runs."""
    box = vagrant.find(config.rootpath)
    _alone(config, "Vagrant runs one guest")
    if box.guest is None:
        return _elsewhere(config, box.address, "Vagrant's, reached only by SSH")
    spec = guest_specs.find(box.guest)
    return Target(
        spec.name,
        spec.architecture,
        lambda: Guest.attach(spec.name),
        description="the one that Vagrant runs",
    )


def _vagrants_or_failure(config: pytest.Config, *, several: bool) -> Target:
    """Return that target; among several, one that fails its tests if Vagrant runs no guest."""
    try:
        return _vagrants(config)
    except HarnessError as error:
        if not several:
            raise
        return Target(VAGRANT, "", lambda: Guest.attach(VAGRANT), boots=False, failure=error)


def _alone(config: pytest.Config, why: str) -> None:
    if options.has_workers(config) or options.is_worker(config):
        raise UsageError(f"{why}, which the workers of pytest-xdist can't share: run without -n")
