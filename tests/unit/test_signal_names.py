# SPDX-License-Identifier: GPL-2.0
"""The names of signals and of their causes; needs no guest."""

import pytest

from pyharness.linux.signal_names import code_name, signal_name


@pytest.mark.parametrize(
    ("number", "name"),
    [
        (1, "SIGHUP"),
        (6, "SIGABRT"),
        (16, "SIGSTKFLT"),
        (17, "SIGCHLD"),
        (29, "SIGIO"),
        (31, "SIGSYS"),
        (32, "SIGRTMIN"),
        (33, "SIGRT_1"),
        (35, "SIGRT_3"),
        (64, "SIGRT_32"),
        (0, "SIGRT_-32"),
    ],
)
def test_names_of_signals_are_those_of_strace(number: int, name: str) -> None:
    assert signal_name(number) == name


@pytest.mark.parametrize(
    ("number", "code", "name"),
    [
        (17, 1, "CLD_EXITED"),
        (17, 6, "CLD_CONTINUED"),
        (17, 7, "0x7"),
        (11, 1, "SEGV_MAPERR"),
        (8, 1, "FPE_INTDIV"),
        (5, 1, "TRAP_BRKPT"),
        (31, 1, "SYS_SECCOMP"),
        (15, 0, "SI_USER"),
        (15, 128, "SI_KERNEL"),
        (35, -1, "SI_QUEUE"),
        (35, -6, "SI_TKILL"),
        (15, 1, "0x1"),
        (15, -100, "0xffffff9c"),
    ],
)
def test_names_of_causes_are_those_of_strace(number: int, code: int, name: str) -> None:
    assert code_name(number, code) == name
