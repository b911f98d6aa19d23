# SPDX-License-Identifier: GPL-2.0
"""The suite, against a guest of which it knows host, port and key, and nothing else."""

import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from pyharness import Guest
from pyharness.machine import image

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.fresh_guest
@pytest.mark.test_limit(3000)
def test_the_suite_by_ssh(guest: Guest, tmp_path: Path) -> None:
    """With a cache in which nothing is: nothing is known but what the guest says."""
    xml = tmp_path / "outcome.xml"
    done = subprocess.run(
        [
            sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider",
            f"--ssh=127.0.0.1:{guest.qemu.machine.port}", f"--ssh-key={image.user_key()}",
            "--ssh-user=root",
            f"--junitxml={xml}", f"--artifacts={tmp_path}",
        ],
        cwd=ROOT,
        env=os.environ | {"PYHARNESS_CACHE": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr
    assert "reached only by SSH" in done.stdout
    (suite,) = ET.parse(xml).getroot()
    assert int(suite.attrib["tests"]) > 250
    assert not (tmp_path / "cache" / "images").exists()
