# SPDX-License-Identifier: GPL-2.0
"""Where Debian's packages come from: apt's sources on this host, or the mirrors that it is given.

``PYHARNESS_MIRROR`` and ``PYHARNESS_SECURITY_MIRROR`` name Debian mirrors by their URLs, for hosts
whose apt knows none (Ubuntu, Fedora).
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
    """The URLs of a Debian mirror and of its security archive; empty where none is known.

    Attributes:
        main: the mirror.
        security: the security archive.
        keyring: the file of keys that sign both, where apt does not trust them by itself.
    """

    main: str
    security: str
    keyring: str = ""

    @classmethod
    def of_this_host(cls) -> "Mirrors":
        """As the environment says, else as apt is set up here."""
        listed = ""
        if which("apt-get"):
            command = ["apt-get", "indextargets", "--format", "$(LABEL)|$(REPO_URI)"]
            listed = subprocess.run(
                [*command, "Identifier: Packages", "Origin: Debian"],
                env=environment(), capture_output=True, text=True, check=False,
            ).stdout  # fmt: skip
        keyring = str(_KEYRING) if _KEYRING.exists() else ""
        return chosen(listed, os.environ, keyring)

    def choices(self, suite: str) -> list[list[str]]:
        """Package sources for that suite, as lines of apt's sources.list, the best first.

        The index of the security suite may be out of step with its mirror: then an
        image without it is better than none. An empty list means the mirrors that
        mmdebstrap knows by itself.

        Raises:
            HostError: no mirror is known that has it.
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
    """The mirrors to use. Pure.

    Args:
        listed: the index targets of Debian's that apt knows, each as LABEL|URL.
        environment: may name mirrors.
        keyring: the file of Debian's keys, "" if there is none.
    """
    # Of several mirrors the first counts, as for apt.
    urls = dict(reversed([line.split("|", 1) for line in listed.splitlines()]))
    # Debian's apt trusts Debian's keys by itself.
    keyring = "" if "Debian" in urls else keyring
    if main := environment.get(NAMED, ""):
        return Mirrors(main, environment.get(_SECURITY_NAMED, ""), keyring)
    return Mirrors(urls.get("Debian", ""), urls.get("Debian-Security", ""))


def base_of(suite: str) -> str:
    """The suite that another is an addition to: ``trixie`` for ``trixie-backports``."""
    return suite.removesuffix("-backports")
