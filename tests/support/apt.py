# SPDX-License-Identifier: GPL-2.0
"""Debian packages for a guest, which reaches no mirror itself."""

import os
import subprocess
from pathlib import Path

from pyharness.machine.guest_specs import GuestSpec
from pyharness.machine.mirrors import Mirrors


def download(spec: GuestSpec, folder: Path, *packages: str) -> list[Path]:
    """Fetch packages as they are in the guest's suite, by an apt of their own."""
    for name in ("lists/partial", "archives/partial", "etc/preferences.d"):
        (folder / name).mkdir(parents=True)
    status = folder / "status"
    status.touch()
    sources = folder / "sources.list"
    options = {
        "APT::Architecture": spec.architecture,
        "APT::Architectures": spec.architecture,
        "Acquire::Languages": "none",
        "APT::Sandbox::User": "root" if os.geteuid() == 0 else "",
        "Dir::State": str(folder),
        "Dir::State::lists": str(folder / "lists"),
        "Dir::State::status": str(status),
        "Dir::Cache": str(folder),
        "Dir::Etc::sourcelist": str(sources),
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::Etc::preferencesparts": str(folder / "etc/preferences.d"),
    }
    apt = ["apt-get", "-qq", *(f"-o{key}={value}" for key, value in options.items() if value)]
    # As an image is made: of the first sources that are in step with their mirror.
    for choice in Mirrors.of_this_host().choices(spec.suite):
        sources.write_text("\n".join(choice) + "\n", encoding="ascii")
        done = subprocess.run(
            [*apt, "update"], cwd=folder, check=False, capture_output=True, text=True
        )
        if not done.returncode:
            break
    subprocess.run([*apt, "download", *packages], cwd=folder, check=True, capture_output=True)
    return sorted(folder.glob("*.deb"))
