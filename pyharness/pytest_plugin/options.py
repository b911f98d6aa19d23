# SPDX-License-Identifier: GPL-2.0
"""The plugin's options, configuration and markers, and the files that they name."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pyharness.errors import HarnessError, UsageError
from pyharness.guest import coverage_report
from pyharness.guest.module_source import ModuleSource
from pyharness.host import writable
from pyharness.machine import accelerator, guest_specs
from pyharness.pytest_plugin import root_folder

OPTIONS: dict[str, dict[str, Any]] = {
    "--guest": {
        "action": "append",
        "metavar": "NAME",
        "help": "the guest to run the tests in (pyharness list), or vagrant: the guest that"
        " Vagrant runs. Given several times, or as all or a pattern such as 'trixie-*', each test"
        " is run in each of these guests",
    },
    "--module": {"metavar": "DIR", "help": "the folder of the module to test"},
    "--accel": {
        "choices": ("kvm", "tcg"),
        "help": "how to run the guest: by KVM, or by QEMU's emulation, TCG (default: KVM if it"
        " works here)",
    },
    "--kernel": {
        "action": "append",
        "metavar": "PATH",
        "help": "the kernel that the guest boots instead of its own: the folder in which one was"
        " built, or the .deb files of a kernel and of its headers, one --kernel option for each"
        " file",
    },
    "--kernel-options": {
        "metavar": "WORDS",
        "help": "add these words to the kernel's command line",
    },
    "--memory-debug": {
        "action": "store_true",
        "help": "switch on the memory checks that a distribution's kernel has: a test whose"
        " module writes past the end of an object, or to a freed one, fails",
    },
    "--ssh": {
        "metavar": "HOST[:PORT]",
        "help": "run the tests in a machine that is reached only by SSH, instead of a guest",
    },
    "--ssh-user": {
        "metavar": "USER",
        "help": "the user for --ssh (default: the one that ssh would use); a user other than root"
        " needs sudo without a password",
    },
    "--ssh-key": {"metavar": "FILE", "help": "the private key for --ssh"},
    "--module-coverage": {
        "action": "append",
        "nargs": "?",
        "const": "term",
        "choices": [*coverage_report.FORMATS],
        "metavar": "FORMAT",
        "help": "report which code of the module has run: term, the default, prints a table;"
        " html, lcov and json write files to the folder of --artifacts",
    },
    "--module-coverage-fail-under": {
        "metavar": "PERCENT",
        "type": float,
        "help": "with --module-coverage, fail if a smaller percentage of the module's lines has"
        " run",
    },
    "--gdb": {
        "action": "store_true",
        "help": "when a test fails, stop its guest, and run gdb on its kernel in the terminal",
    },
    "--artifacts": {
        "metavar": "DIR",
        "help": "the folder to keep each test's console output in (default: artifacts)",
    },
    "--results": {"metavar": "FILE", "help": "write a report of the run to FILE, as JSON"},
    "--test-limit": {
        "metavar": "SECONDS",
        "type": float,
        "help": "end a test that takes longer, in seconds in which its guest could run: time in"
        " which the host was busy does not count (default: no limit)",
    },
}
_WITH_VALUE = [
    name for name, described in OPTIONS.items() if described.get("action") != "store_true"
]
_INI = {
    "guest": "the guest to run this project's tests in, or 'default'; with pytest -n it is made"
    " ready before the workers start",
    "module": "the folder of the module to test (default: module)",
    "module_name": "which module to test, if the folder builds several",
    "test_limit": "the default of --test-limit",
}
MARKERS = (
    "cpus(number): give the test a guest with this number of CPUs",
    "console: run the test only where the guest's serial console can be read",
    "fresh_guest: give the test a guest of its own, as it was right after its boot",
    "architecture(*names): run the test only in guests of these architectures, named as Debian"
    " does: 'i386', 'amd64', 'arm64'",
    "kernel(*conditions): run the test only on kernels that meet all conditions, such as '>=6.1',"
    " '<7'",
    "debug_kernel(*options): run the test only on kernels that have these options of their .config,"
    " such as 'KASAN', 'FAILSLAB'",
    "leaks_nothing: fail the test if memory was allocated during it that nothing refers to when it"
    " ends; run it only on kernels that have kmemleak, which takes 10 s or longer",
    "expects_warning(*patterns): fail the test unless the kernel warns during it (WARN_ON and the"
    " like), once or more for each regular expression; any other report fails it, too",
    "test_limit(seconds): end the test if it takes longer, whatever --test-limit says",
)
# pytest's options that list tests or fixtures and run nothing, by their names in its namespace.
_LISTS = ("collectonly", "showfixtures", "show_fixtures_per_test", "setupplan")


def add(parser: pytest.Parser) -> None:
    """Add the options and the configuration to pytest's."""
    group = parser.getgroup("pyharness", "kernel modules in guests (write --option=value)")
    for name, described in OPTIONS.items():
        group.addoption(name, **described)
    for name, text in _INI.items():
        parser.addini(name, text, default="")


def apply(config: pytest.Config) -> None:
    """Declare the markers, and pass on the options that the whole package reads."""
    for marker in MARKERS:
        config.addinivalue_line("markers", marker)
    if option := config.getoption("accel"):
        os.environ[accelerator.ENV_VAR] = option
    named = (Path(path).expanduser() for path in config.getoption("kernel") or ())
    guest_specs.choose_kernel([absolute(config, path) for path in named])
    guest_specs.add_kernel_options(
        config.getoption("kernel_options"), memory_debug=config.getoption("memory_debug")
    )


def check(config: pytest.Config) -> None:
    """Check the options that concern all tests.

    Raises:
        pytest.UsageError: one has a wrong value.
    """
    root_folder.check(config, _WITH_VALUE)
    with as_usage_error():
        limit = config.getoption("module_coverage_fail_under")
        if limit is not None and not config.getoption("module_coverage"):
            raise UsageError("--module-coverage-fail-under needs --module-coverage")
        if config.getoption("module") or config.getini("module"):
            ModuleSource(module_folder_of(config))
        if config.getoption("artifacts"):
            writable.can_make_folder(artifacts_of(config), "--artifacts")
        if report := config.getoption("results"):
            writable.can_write(absolute(config, report), "--results")


@contextmanager
def as_usage_error() -> Iterator[None]:
    """Turn this package's errors into usage errors, which pytest shows without a traceback."""
    try:
        yield
    except HarnessError as error:
        raise pytest.UsageError(f"pyharness: {error}") from error


def is_worker(config: pytest.Config) -> bool:
    """Return whether this process is a worker of pytest-xdist."""
    return hasattr(config, "workerinput")


def has_workers(config: pytest.Config) -> bool:
    """Return whether workers of pytest-xdist run the tests for this process."""
    return not is_worker(config) and config.getoption("dist", "no") != "no"


def only_lists(config: pytest.Config) -> bool:
    """Return whether this run only lists tests or fixtures."""
    return any(getattr(config.option, name, False) for name in _LISTS)


def has_full_trace(config: pytest.Config) -> bool:
    """Return whether failures are to show all frames; the option is of a plugin of pytest."""
    return bool(config.getoption("fulltrace", False))


def absolute(config: pytest.Config, path: str | Path) -> Path:
    """Resolve a path of the command line, against the folder in which pytest was started.

    A test may have changed the working directory since.
    """
    return config.invocation_params.dir / path


def artifacts_of(config: pytest.Config) -> Path:
    """Return the folder for the files with the serial console's output."""
    return absolute(config, config.getoption("artifacts") or "artifacts")


def module_folder_of(config: pytest.Config) -> Path:
    """Return the folder of the module to test, according to options and configuration."""
    named = config.getoption("module")
    return (
        absolute(config, named)
        if named
        else config.rootpath / (config.getini("module") or "module")
    )
