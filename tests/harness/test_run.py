# SPDX-License-Identifier: GPL-2.0
"""Commands in the guest by Guest.run(): what a shell and SSH can take."""

import pytest

from pyharness import Guest, UsageError

MOST = 131_071  # bytes of one argument of a program on Linux


@pytest.mark.parametrize("size", [MOST + 1, 256 << 10, 1 << 20])
def test_a_command_that_is_too_long_is_refused(guest: Guest, size: int) -> None:
    with pytest.raises(UsageError, match=f"^the command has {size:,} bytes, and .* takes 131,071"):
        guest.run("true #".ljust(size, "x"))
    assert guest.run("echo done #".ljust(MOST, "x")).check().stdout == "done\n"


def test_a_null_character_is_refused(guest: Guest) -> None:
    with pytest.raises(UsageError, match=r"^a command can't have a null character$"):
        guest.run(["echo", "a\0b"])
    with pytest.raises(UsageError, match="null character"):
        guest.run(["rm", "-r", "/root/a\0b"], user="nobody")
