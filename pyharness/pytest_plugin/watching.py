# SPDX-License-Identifier: GPL-2.0
"""Watches the guest of each test: trouble of its kernel fails the test, and spoils the guest."""

import hashlib
import re
import unittest
from collections.abc import Generator
from contextlib import suppress

import pytest

from pyharness.errors import GuestCrashed, GuestError, HarnessError
from pyharness.guest.guest import Guest
from pyharness.guest.pool import GuestPool
from pyharness.pytest_plugin import markers, options, tracebacks
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


def share(config: pytest.Config, pool: GuestPool) -> None:
    """Take the guests that tests share from a pool from now on."""
    config.stash[_POOL] = pool


def rest(config: pytest.Config, *, needed: bool) -> None:
    """Pause the shared guests before a test that needs none; resume the one in use before others.

    A guest that can't be paused or resumed any more is left to the test that uses it next.
    """
    if pool := config.stash.get(_POOL, None):
        with suppress(GuestError):
            pool.resume() if needed else pool.pause()


def begin(item: pytest.Item, guest: Guest) -> GuestUse:
    """Begin to watch the guest that a test uses."""
    item.stash[_USE] = GuestUse.begin(
        guest, markers.expected_of(item), leaks=markers.watches_leaks(item)
    )
    return item.stash[_USE]


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
                trouble.__cause__ = error
                error = trouble
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


def spoil(item: pytest.Item, use: GuestUse) -> None:
    """Have the guest of a test be discarded."""
    del item.stash[_USE]
    item.config.stash[_POOL].take_out(use.guest)
    item.config.stash.setdefault(_SPOILT, []).append(use.guest)


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
    """Return the guests in which tests failed, and which run until they are discarded."""
    return config.stash.get(_SPOILT, [])


def discard_spoilt(config: pytest.Config) -> None:
    """End the guests in which tests failed."""
    guests = spoilt(config)
    while guests:
        config.stash[_POOL].discard(guests.pop())
