# SPDX-License-Identifier: GPL-2.0
"""Which mirrors images are made from."""

import pytest

from pyharness.errors import HostError
from pyharness.machine.mirrors import Mirrors, chosen

APT = "Debian|http://a/debian/\nDebian-Security|http://a/security/\nDebian|http://b/debian/\n"
KEYS = "/keys.gpg"


def test_apts_own_sources_are_taken_the_first_of_each() -> None:
    assert chosen(APT, {}, KEYS) == Mirrors("http://a/debian/", "http://a/security/")


def test_the_environment_outranks_apt() -> None:
    named = {"PYHARNESS_MIRROR": "http://c/", "PYHARNESS_SECURITY_MIRROR": "http://d/"}
    assert chosen(APT, named, KEYS) == Mirrors("http://c/", "http://d/")
    assert chosen("", named, KEYS) == Mirrors("http://c/", "http://d/", KEYS)


def test_a_host_whose_apt_has_no_debian_takes_mmdebstraps_own_mirrors() -> None:
    none = chosen("", {}, KEYS)
    assert none.choices("bookworm") == [[]]
    with pytest.raises(HostError, match="name a mirror's URL in PYHARNESS_MIRROR"):
        none.choices("trixie-backports")


def test_sources() -> None:
    assert Mirrors("http://a/", "http://s/").choices("bookworm") == [
        ["deb http://a/ bookworm main", "deb http://s/ bookworm-security main"],
        ["deb http://a/ bookworm main"],
    ]
    assert Mirrors("http://a/", "", KEYS).choices("trixie-backports") == [
        [
            "deb [signed-by=/keys.gpg] http://a/ trixie main",
            "deb [signed-by=/keys.gpg] http://a/ trixie-backports main",
        ]
    ]
