# SPDX-License-Identifier: GPL-2.0
"""Stops the guest of a test that has failed, and runs gdb in the terminal (``--gdb``)."""

import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager

import pytest

from pyharness.errors import HarnessError, UsageError
from pyharness.guest.gdb import debugger, kernel_symbols
from pyharness.pytest_plugin import options, watching
from pyharness.pytest_plugin.target import targets_of


class Debugging:
    """A plugin that runs gdb on the guest of a test that fails, before the guest is discarded."""

    def __init__(self, config: pytest.Config) -> None:
        """Take the configuration of the run."""
        self._config = config

    def check(self) -> None:
        """Make sure that gdb can be used in this run.

        Raises:
            UsageError: the run has no terminal of its own, or a guest that is not QEMU's.
            HostError: this host has no gdb.
        """
        if options.has_workers(self._config) or options.is_worker(self._config):
            raise UsageError("--gdb needs the terminal, which workers don't have: run without -n")
        with self._terminal():
            if not os.isatty(0):
                raise UsageError("--gdb needs a terminal as its standard input")
        for target in targets_of(self._config):
            if not target.boots:
                raise UsageError(f"--gdb needs a guest that pyharness runs, unlike {target.name}")
            debugger.program(target.architecture)

    @contextmanager
    def _terminal(self) -> Iterator[None]:
        """Have the terminal as the standard streams, instead of pytest's files, during a block."""
        capture = self._config.pluginmanager.getplugin("capturemanager")
        if capture is None:  # -p no:capture
            yield
            return
        capture.suspend(in_=True)
        try:
            yield
        finally:
            capture.resume()

    # Kernels that crash later can't be asked any more.
    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, object, object]:
        """Keep the addresses of the kernel's functions before a test runs."""
        if watching.goes_on(item):
            guest = watching.use_of(item).guest
            kernel_symbols.keep(guest.qemu, guest)
        return (yield)

    # Before the debugger of --pdb, whose user may end the run.
    @pytest.hookimpl(tryfirst=True)
    def pytest_exception_interact(
        self, node: pytest.Item | pytest.Collector, call: pytest.CallInfo[object]
    ) -> None:
        """Run gdb on the guests in which a test, or a subtest, has just failed."""
        guests = watching.spoilt(self._config)
        if isinstance(node, pytest.Item) and call.when == "call" and watching.goes_on(node):
            guests = [watching.use_of(node).guest]  # of a subtest; the test goes on
        for guest in guests:
            with self._terminal():
                print(
                    f"\n{node.nodeid} failed: gdb has stopped {guest.describe()}; type quit to"
                    " continue the tests"
                )
                try:
                    modules = [*guest.modules.values()]
                    described = debugger.describe(guest.qemu, guest, modules)
                    print("\n".join(described.messages))
                    debugger.run(guest.qemu, described)
                except (HarnessError, OSError) as error:
                    print(f"gdb can't be used: {error}")
