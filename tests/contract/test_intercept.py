# SPDX-License-Identifier: GPL-2.0
"""Intercept and release beyond the rules of test_rules.py: every number, and unusual ones."""

import errno

import pytest

from pyharness import Actor
from pyharness.interceptor import Interceptor

CALL = "mkdirat"


@pytest.mark.test_limit(600)
def test_every_number_is_intercepted_and_released(
    module: Interceptor, number_of_syscalls: int
) -> None:
    """From 1 to NR-1, real calls and numbers that the kernel implements none for."""
    numbers = [n for n in range(number_of_syscalls) if n != module.interface.custom_syscall]
    refused = {n: module.intercept(n).error for n in numbers}
    assert not {n: error for n, error in refused.items() if error}
    assert [call.number for call in module.status()] == numbers
    assert {module.intercept(n).error for n in numbers} == {"EBUSY"}
    assert {n: r.error for n in numbers if (r := module.release(n)).errno} == {}
    assert not module.status()
    assert {module.release(n).error for n in numbers} == {"EINVAL"}


# Numbers between those that are in use, which the kernel has no calls for.
UNUSED = {"i386": (17, 222), "x86_64": (400, 423), "arm64": (244, 259)}


@pytest.mark.parametrize("which", [0, 1])
def test_a_number_without_a_call_is_intercepted_alone(
    module: Interceptor, root: Actor, which: int
) -> None:
    """All of these share one handler in the kernel; only the one that is meant is logged."""
    unused = UNUSED[module.guest.syscalls.architecture]
    number, other = unused[which], unused[1 - which]
    with module.intercepted(number):
        assert module.start(number, root.pid).value == 0
        mark = module.guest.log.mark()
        assert root.syscall(other, 1).errno == errno.ENOSYS
        assert root.syscall(number, 2).errno == errno.ENOSYS
        assert [call.syscall.number for call in module.logged(mark)] == [number]


@pytest.mark.architecture("amd64", "arm64")  # whose registers have more bits than an int
def test_arguments_are_ints_whatever_the_high_bits(module: Interceptor, root: Actor) -> None:
    """A long that does not fit is cut, as C does it."""
    number = module.guest.syscalls.number(CALL)
    custom = module.interface.custom_syscall
    assert root.syscall(custom, 1 | 1 << 32, number | 1 << 33, 0).value == 0
    assert module.release(number).value == 0
