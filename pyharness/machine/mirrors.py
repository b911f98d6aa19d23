# SPDX-License-Identifier: GPL-2.0
"""Debian mirrors, from which images are made: those of this host's apt, or others that are named.

``PYHARNESS_MIRROR`` and ``PYHARNESS_SECURITY_MIRROR`` name mirrors by their URLs, for hosts whose
apt has none of Debian's (Ubuntu, Fedora).
"""

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pyharness.errors import HostError
from pyharness.host.programs import environment, which

NAMED = "PYHARNESS_MIRROR"
_SECURITY_NAMED = "PYHARNESS_SECURITY_MIRROR"
_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


@dataclass(frozen=True)
class Mirrors:
    """The URLs of a Debian mirror and of its security archive.

    Attributes:
        main: the mirror's URL; empty if none is known.
        security: the security archive's URL; empty if none is known.
        keyring: the file of the keys that sign both; empty where apt trusts them already.
    """

    main: str
    security: str
    keyring: str = ""

    @classmethod
    def of_this_host(cls) -> "Mirrors":
        """The mirrors that the environment names, else those that apt uses on this host."""
        listed = ""
        if which("apt-get"):
            command = ["apt-get", "indextargets", "--format", "$(LABEL)|$(REPO_URI)"]
            listed = subprocess.run(
                [*command, "Identifier: Packages", "Origin: Debian"],
                env=environment(), capture_output=True, text=True, errors="replace",
                check=False,
            ).stdout  # fmt: skip
        keyring = str(_KEYRING) if _KEYRING.exists() else ""
        return chosen(listed, os.environ, keyring)

    def choices(self, suite: str) -> list[list[str]]:
        """The alternative package sources for a suite, the best first.

        The last one lacks the security archive, as the archive's index may be out of step with its
        mirror: an image without it is better than none.

        Returns:
            Alternatives, each a list of lines for apt's sources.list; an empty list of lines stands
            for the mirrors that mmdebstrap uses by default.

        Raises:
            HostError: no mirror is known, which the suite needs.
        """
        base = base_of(suite)
        if not self.main:
            if suite != base:
                raise HostError(
                    f"apt on this host knows no Debian mirror, which {suite} needs: apt-get update,"
                    f" or name a mirror's URL in {NAMED}"
                )
            return [[]]
        options = f"[signed-by={self.keyring}] " if self.keyring else ""
        main = [f"deb {options}{self.main} {name} main" for name in dict.fromkeys((base, suite))]
        if not self.security:
            return [main]
        return [[*main, f"deb {options}{self.security} {base}-security main"], main]


def chosen(listed: str, environment: Mapping[str, str], keyring: str) -> Mirrors:
    """Choose the mirrors to use. Pure.

    Args:
        listed: apt's index targets from Debian, one LABEL|URL a line.
        environment: the environment variables, which may name mirrors.
        keyring: the file of Debian's keys; empty if there is none.
    """
    # The first of several mirrors is used, as by apt.
    urls = dict(reversed([line.split("|", 1) for line in listed.splitlines()]))
    # An apt that uses Debian's mirrors trusts Debian's keys already.
    keyring = "" if "Debian" in urls else keyring
    if main := environment.get(NAMED, ""):
        return Mirrors(main, environment.get(_SECURITY_NAMED, ""), keyring)
    return Mirrors(urls.get("Debian", ""), urls.get("Debian-Security", ""))


def base_of(suite: str) -> str:
    """The suite that another adds to: ``trixie`` for ``trixie-backports``."""
    return suite.removesuffix("-backports")
