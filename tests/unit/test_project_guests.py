# SPDX-License-Identifier: GPL-2.0
"""A project's description of guests may name anything; needs no guest."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from pyharness import UsageError
from pyharness.machine import guest_specs, kernel_packages, kernel_source, project_guests
from pyharness.machine.kernel_tree import KernelTree


@pytest.mark.parametrize("named", ["~nosuchuser/linux", "a\\u0000b", "x" * 300])
def test_what_is_no_path_is_left_as_it_is(tmp_path: Path, named: str) -> None:
    project = tmp_path / "pyproject.toml"
    table = f'[tool.pyharness.guests.my]\nkernel_tree = "{named}"\nconfig = ["{named}"]\n'
    project.write_text(table, encoding="ascii")
    value = named.replace("\\u0000", "\0")
    assert project_guests.read(project) == {"my": {"kernel_tree": value, "config": [value]}}


@pytest.mark.parametrize("named", ["~nosuchuser/linux", "a\0b", "x" * 300, "/"])
def test_a_kernel_that_is_not_there_is_a_usage_error(named: str) -> None:
    spec = guest_specs.find("bookworm-amd64")
    with pytest.raises(UsageError, match="no \\.config that can be read"):
        KernelTree(Path(named)).check(spec)
    with pytest.raises(UsageError, match="which can't be read"):
        kernel_packages.digest(replace(spec, kernel_packages=(named,)))
    with pytest.raises(UsageError, match="can't be read"):
        kernel_source.config_of(replace(spec, config=(named,)))


def test_a_folder_that_may_not_be_searched_has_no_project(tmp_path: Path) -> None:
    """The current folder is below it; root begins there, and gives up its rights."""
    here = tmp_path / "closed" / "here"
    here.mkdir(parents=True)
    program = (
        "import os\n"
        "from pyharness.machine import project_guests\n"
        f"os.chdir({str(here)!r})\n"
        f"os.chmod({str(here.parent)!r}, 0)\n"
        "if os.geteuid() == 0:\n"
        "    os.setuid(4242)\n"
        "print(project_guests.tables())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )  # fmt: skip
    here.parent.chmod(0o700)
    assert done.stdout == "{}\n", done.stderr
