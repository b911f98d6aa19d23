# SPDX-License-Identifier: GPL-2.0
"""Runs tests in a pytest and in guests of their own: tests that must fail, and whole projects."""

import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

from pyharness import Guest

# Runs pytest without plugins that tests of the plugin don't need. To import Hypothesis takes
# longer than all else that such a run does.
PYTEST = [
    sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:randomly",
    "-p", "no:hypothesispytest",
]  # fmt: skip


def run_tests(folder: Path, *words: str, **environment: str) -> ET.Element:
    """Run tests in guests like that of this test.

    Args:
        folder: an empty folder, for what the run writes.
        words: the tests, and options.
        environment: variables to set.

    Returns:
        How they ended, as JUnit has it.
    """
    xml = folder / "outcome.xml"
    done = subprocess.run(
        [
            sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:randomly",
            f"--junitxml={xml}", "-o", "junit_family=xunit1", f"--artifacts={folder}",
            f"--guest={os.environ['PYHARNESS_GUEST']}",
            *words,
        ],
        env=os.environ
        | {"PYHARNESS_RUN": str(folder / "run"), "PYTEST_ADDOPTS": ""}
        | environment,
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    assert xml.exists(), done.stdout + done.stderr
    assert list((folder / "run").iterdir()) == []
    (suite,) = ET.parse(xml).getroot()
    return suite


def run_project(
    folder: Path, guest: Guest | None, *words: str, stdin: str = ""
) -> "subprocess.CompletedProcess[str]":
    """Run the tests of a project.

    Args:
        folder: the project's folder.
        guest: a guest like those that they are to run in; None: as the project says.
        *words: options.
        stdin: the standard input.
    """
    named = [f"--guest={guest.facts.name}"] if guest else []
    return subprocess.run(
        [*PYTEST, *named, *words],
        cwd=folder,
        env=os.environ | {"PYHARNESS_RUN": str(folder / "run"), "PYTEST_ADDOPTS": ""},
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
    )


def failure(case: ET.Element) -> str:
    """What the failure of a test says, empty if it passed."""
    assert case.find("error") is None
    failed = case.find("failure")
    text = "" if failed is None else failed.text or "nothing"
    return "\n".join(re.findall("^E +(.*)", text, re.MULTILINE))
