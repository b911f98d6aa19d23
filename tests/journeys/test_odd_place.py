# SPDX-License-Identifier: GPL-2.0
"""From nothing to the demo, all of it in folders with odd names, by a careful user's umask."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import odd
import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.test_limit(3600)
def test_an_image_is_made_in_an_odd_place(tmp_path: Path) -> None:
    checkout, cache, run = (tmp_path / kind / odd.NAME for kind in ("checkout", "cache", "run"))
    shutil.copytree(ROOT, checkout, ignore=shutil.ignore_patterns(".*", "__pycache__", "artifacts"))
    for path in [checkout, *checkout.rglob("*")]:
        path.chmod(path.stat().st_mode & 0o700)

    def type_in(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "pyharness", *words],
            cwd=checkout,
            env=os.environ | {"PYHARNESS_CACHE": str(cache), "PYHARNESS_RUN": str(run)},
            umask=0o077,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout

    assert "is up" in type_in("up")
    modes = type_in(
        "ssh", "--", "stat -c %a / /etc /usr /etc/ssh/sshd_config.d/guest.conf /root/.ssh"
    )
    assert modes.split() == ["755", "755", "755", "644", "700"]
    assert f"{cache}/modules/" in type_in("build", "--module", str(checkout / "module"))
    assert "all 11 steps passed" in type_in("demo")
    type_in("suspend")
    type_in("up")
    assert type_in("ssh", "--", "echo", "again") == "again\n"
    type_in("down")
    assert list(run.iterdir()) == []
