# SPDX-License-Identifier: GPL-2.0
"""Watches the guest of each test: trouble of its kernel fails the test, and spoils the guest."""

import hashlib
import re
import unittest
from collections.abc import Generator
from weakref import WeakKeyDictionary

import pytest
from _pytest.unittest import TestCaseFunction

from pyharness.errors import EmulatorFault, GuestCrashed, GuestError, HarnessError
from pyharness.guest.guest import Guest
from pyharness.guest.pool import GuestPool
from pyharness.pytest_plugin import markers, options, repeating, tracebacks
from pyharness.pytest_plugin.guest_use import GuestUse

_NAME = 200  # characters of an artifact's name; file systems allow 255 for the whole name
_DIGEST = 8  # characters of the hash that makes names unique
# A test's node ID that needs no hash in the name of its artifact.
_PLAIN = re.compile(r"[\w./]+(::\w+)*", re.ASCII)
# These end the whole run, whatever state the kernel is in.
_ENDS_THE_RUN = (KeyboardInterrupt, pytest.exit.Exception)
# These are no failures.
_SKIPS = (pytest.skip.Exception, unittest.SkipTest)
_POOL = pytest.StashKey[GuestPool]()
_USE = pytest.StashKey[GuestUse]()
_HAS_FAILED = pytest.StashKey[bool]()  # the present phase of a test, or a subtest in it
_SPOILT = pytest.StashKey[list[Guest]]()  # guests in which tests failed
_LOST = pytest.StashKey[list[Guest]]()  # guests that were lost between tests
_LAST = pytest.StashKey[WeakKeyDictionary[Guest, str]]()  # the last test of each guest
_LOSSES = pytest.StashKey[list[str]]()  # of guests before a test, in words


def share(config: pytest.Config, pool: GuestPool) -> None:
    """Take the guests that tests share from a pool from now on."""
    config.stash[_POOL] = pool


def rest(config: pytest.Config, *, needed: bool) -> None:
    """Pause the shared guests before a test that needs none; resume the last one before others."""
    if pool := config.stash.get(_POOL, None):
        pool.resume() if needed else pool.pause()


def begin(item: pytest.Item, pool: GuestPool, cpus: int, *, fresh: bool) -> GuestUse:
    """Begin to watch the guest that a test uses.

    Args:
        item: the test.
        pool: where the guest is from.
        cpus: the guest's number of CPUs; 0: as many as usual.
        fresh: whether the test gets a guest of its own.
    """
    try:
        guest = pool.fresh(cpus) if fresh else pool.guest(cpus)
    finally:
        while pool.lost:
            _note_loss(item, *pool.lost.pop())
    try:
        item.stash[_USE] = GuestUse.begin(
            guest, markers.expected_of(item), leaks=markers.watches_leaks(item)
        )
    except BaseException:
        _discard_later(item.config, guest, _SPOILT)
        raise
    item.config.stash.setdefault(_LAST, WeakKeyDictionary())[guest] = item.nodeid
    return item.stash[_USE]


def _note_loss(item: pytest.Item, guest: Guest, error: HarnessError) -> None:
    """Have report_losses() report that a shared guest was lost before a test."""
    if guest.closed:  # it was lost in the test before, which has failed
        return
    _discard_later(item.config, guest, _LOST)
    before = item.config.stash.get(_LAST, WeakKeyDictionary()).get(guest)
    if isinstance(error, EmulatorFault):  # no test is to blame
        item.user_properties.append((repeating.REPLACED, error.fault))
    else:
        whose = f"the guest of {before}" if before else "a guest"
        since = "after the end of that test" if before else "before this test"
        item.stash.setdefault(_LOSSES, []).append(
            f"{whose} was lost {since}, and replaced for this one: {error}"
        )


def report_losses(item: pytest.Item) -> None:
    """Report the guests that were lost before a test, which has got another one, at its end.

    Raises:
        GuestError: one was.
    """
    if losses := item.stash.get(_LOSSES, []):
        if not repeating.is_due(item):  # else the reports of this run of the test don't count
            del item.stash[_LOSSES]
        raise GuestError("\n".join(losses))


def goes_on(item: pytest.Item) -> bool:
    """Return whether the guest of a test is watched, and nothing went wrong in it."""
    return _USE in item.stash


def use_of(item: pytest.Item) -> GuestUse:
    """Return what a test has done in its guest so far."""
    return item.stash[_USE]


def note(item: pytest.Item, error: BaseException) -> None:
    """Note an error for attend(), to which a test does not pass on those of its subtests."""
    if not isinstance(error, _SKIPS):
        item.stash[_HAS_FAILED] = True


def attend(item: pytest.Item, *, ends: bool) -> Generator[None, object, object]:
    """Check the guest's kernel after a phase of a test, as a hook wrapper.

    Trouble that the kernel reported replaces the test's own result. A guest in which a test
    failed can't be trusted: it is marked to be discarded, and the next test gets another.

    Args:
        item: the test.
        ends: whether each warning that the test expects must have occurred by the end of this
            phase.
    """
    result, error = None, None
    item.stash[_HAS_FAILED] = False
    try:
        result = yield
    except BaseException as raised:  # a failure, a skip, or an interruption
        error = raised
        _simplify(item, error)
        note(item, error)
    kept = _kept_errors(item)
    for one in kept:
        note(item, one)
    use = item.stash.get(_USE, None)
    if use is not None and isinstance(error, _ENDS_THE_RUN):
        spoil(item, use)
    elif use is not None:
        try:
            use.examine()
            if ends and error is None and not item.stash[_HAS_FAILED]:
                use.expect_all()
                use.find_leaks()
        except HarnessError as trouble:
            if not isinstance(error, GuestCrashed):
                _simplify(item, trouble)
                trouble.__cause__ = error or next(iter(kept), None)
                error = trouble
                _kept_errors(item, forget=True)
            note(item, trouble)
        console = use.console_text()
        not_kept = _keep_console(item, console)
        if item.stash[_HAS_FAILED]:
            item.add_report_section("call", "kernel log of this test", _log_of(use))
            item.add_report_section("call", "console of this test", console)
            if not_kept:
                item.add_report_section("call", "artifacts of this test", not_kept)
            spoil(item, use)
    if error is not None:
        raise error
    return result


def _kept_errors(item: pytest.Item, *, forget: bool = False) -> list[BaseException]:
    """Return the errors of a method of `unittest.TestCase`, which pytest keeps until its report.

    Args:
        item: the test.
        forget: whether pytest is to forget them, and report what attend() raises.
    """
    if not isinstance(item, TestCaseFunction):
        return []
    kept = [one.value for one in item._excinfo or ()]
    if forget:
        item._excinfo = None
    return kept


def spoil(item: pytest.Item, use: GuestUse) -> None:
    """Have the guest of a test be discarded."""
    del item.stash[_USE]
    _discard_later(item.config, use.guest, _SPOILT)


def _discard_later(
    config: pytest.Config, guest: Guest, guests: pytest.StashKey[list[Guest]]
) -> None:
    """Share a guest no more; discard_spoilt() ends it."""
    config.stash[_POOL].take_out(guest)
    config.stash.setdefault(guests, []).append(guest)


def _simplify(item: pytest.Item, error: BaseException) -> None:
    """Hide the cause of an error that this package raised on purpose, except with --full-trace."""
    if not options.has_full_trace(item.config):
        tracebacks.forget_cause(error)


def _log_of(use: GuestUse) -> str:
    """Return the kernel log of a test as text, or a note that it can't be read."""
    try:
        return "\n".join(f"{r.microseconds / 1e6:12.6f} {r.text}" for r in use.records())
    except GuestError:
        return "it can't be read any more; see the console"


def console_name(test: str) -> str:
    """Return the name of the file for a test's console output, unique to its node ID."""
    name = re.sub(r"[^\w.]+", "-", test, flags=re.ASCII).strip("-")
    if len(name) > _NAME or not _PLAIN.fullmatch(test):
        digest = hashlib.sha256(test.encode(errors="surrogatepass")).hexdigest()
        name = f"{name[:_NAME]}-{digest[:_DIGEST]}"
    return f"{name}.console.log"


def _keep_console(item: pytest.Item, text: str) -> str:
    """Write the serial console's output during a test to a file.

    Returns:
        Why it could not be written, such as a full disk; empty if it was.
    """
    folder = options.artifacts_of(item.config)
    path = folder / console_name(item.nodeid)
    try:
        if not folder.is_dir():
            folder.mkdir(parents=True, exist_ok=True)
            # Has git, and the search for the module's source, ignore the folder.
            (folder / ".gitignore").write_text("*\n", encoding="ascii")
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        return f"the console could not be kept: {error}"
    invoked = item.config.invocation_params.dir
    recorded = ("console", str(path.relative_to(invoked) if path.is_relative_to(invoked) else path))
    if recorded not in item.user_properties:
        item.user_properties.append(recorded)
    return ""


def spoilt(config: pytest.Config) -> list[Guest]:
    """Return the guests in which tests failed, and which are not discarded yet."""
    return config.stash.get(_SPOILT, [])


def discard_spoilt(config: pytest.Config) -> None:
    """End the guests in which tests failed, and those that were lost between tests."""
    for guests in (spoilt(config), config.stash.get(_LOST, [])):
        while guests:
            config.stash[_POOL].discard(guests.pop())
