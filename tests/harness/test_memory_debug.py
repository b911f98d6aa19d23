# SPDX-License-Identifier: GPL-2.0
"""With --memory-debug, a distribution's kernel finds a module's wrong use of memory."""

import re
from pathlib import Path

import pytest
from suites import failure, run_tests

from pyharness import Guest, UsageError
from pyharness.machine import guest_specs

MISUSES = Path(__file__).parents[1] / "failing" / "misuses.py"
# What the kernel reports, and the function that the report shows with its line.
FOUND = {
    "write-after-free": (r"Poison overwritten|KFENCE: use-after-free write", "write_after_free"),
    "write-behind": (r"Redzone overwritten|KFENCE: memory corruption", "write_behind"),
    "free-twice": (r"Object already free|KFENCE: invalid free", "free_twice"),
}  # fmt: skip

pytestmark = pytest.mark.alone


@pytest.mark.test_limit(600)  # two guests boot
def test_wrong_use_of_memory_fails_the_test(guest: Guest, tmp_path: Path) -> None:
    tests = [f"{MISUSES}::test_misuse[{name}]" for name in ("nothing", *FOUND)]
    nothing, *found = map(failure, run_tests(tmp_path, "--memory-debug", *tests))
    assert not nothing
    for (said, function), text in zip(FOUND.values(), found, strict=True):
        assert re.search(said, text), text
        place = r" at misuse\.c:\d+"  # of an address, if the module was unloaded before the check
        assert re.search(rf"{function}\+.*{place}|{place}.*, {function}\(\)", text), text


@pytest.mark.test_limit(600)
def test_words_are_added_to_the_kernels_command_line(guest: Guest, tmp_path: Path) -> None:
    (tmp_path / "test_made_up.py").write_text(
        "def test_it(guest):\n"
        "    line = guest.run('cat /proc/cmdline').stdout\n"
        "    assert line.endswith(' made.up=\"a b\"\\n'), line\n",
        encoding="ascii",
    )
    (tmp_path / "pytest.ini").touch()
    (made_up,) = run_tests(
        tmp_path, str(tmp_path / "test_made_up.py"), '--kernel-options=made.up="a b"'
    )
    assert not failure(made_up)


@pytest.mark.parametrize("words", ["quiet\ninit=/bin/sh", "é"])
def test_a_command_line_that_no_kernel_has_is_refused(
    monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    monkeypatch.setenv(guest_specs.OPTIONS_VARIABLE, words)
    with pytest.raises(UsageError, match="the kernel's options have the character"):
        guest_specs.find()
