# SPDX-License-Identifier: GPL-2.0
"""A run where Vagrant may have a guest; Vagrant is a stand-in."""

import time
from pathlib import Path

import pytest

from pyharness.errors import GuestError, GuestTimeout, UsageError
from pyharness.pytest_plugin import target, vagrant


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project's folder, in which Vagrant may have a guest; programs are sought beside it."""
    project = tmp_path / "project"
    state = project / ".vagrant" / "machines" / "default" / "virtualbox"
    state.mkdir(parents=True)
    (state / "id").write_text("1", encoding="ascii")
    (project / "Vagrantfile").touch()
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
    monkeypatch.delenv("VAGRANT_DOTFILE_PATH", raising=False)
    return project


def install(folder: Path, program: str) -> None:
    """Have Vagrant be this program."""
    path = folder.parent / "bin" / "vagrant"
    path.write_text(program, encoding="ascii")
    path.chmod(0o755)


def test_a_vagrant_that_does_not_answer_is_given_up(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(folder, "#!/bin/sh\nsleep 1000 & wait\n")
    monkeypatch.setattr(vagrant, "_SECONDS", 0.3)
    began = time.monotonic()
    with pytest.raises(
        GuestTimeout, match=r"vagrant ssh-config did not end within 0\.3 s"
    ) as caught:
        vagrant.find(folder)
    assert time.monotonic() - began < 500  # its child does not hold it up
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("program", "error"),
    [
        ("#!/bin/sh\nexit 1\n", GuestError),
        ("#!/bin/sh\necho Host default\necho '  Port many'\necho '  HostName a'\n", UsageError),
        ("#!/bin/sh\necho x\n", UsageError),
        ("#!/bin/sh\nprintf '\\377'\n", UsageError),
        ("#!/nosuch/program\n", GuestError),
    ],
)
def test_what_vagrant_does_wrong_is_one_error(
    folder: Path, program: str, error: type[Exception]
) -> None:
    install(folder, program)
    with pytest.raises(error) as caught:
        vagrant.find(folder)
    assert "\n" not in str(caught.value)


def test_nobody_has_asked_for_a_vagrant_that_does_not_answer(
    folder: Path, pytestconfig: pytest.Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The guest is the usual one, and its line says why."""
    install(folder, "#!/bin/sh\nexec sleep 1000\n")
    monkeypatch.setattr(vagrant, "_SECONDS", 0.3)
    monkeypatch.setattr(type(pytestconfig), "rootpath", folder)
    (found,) = target._find(pytestconfig)
    assert found.boots
    assert found.description == "not Vagrant's, which did not answer in time"
    install(folder, "#!/bin/sh\nexit 1\n")
    (found,) = target._find(pytestconfig)
    assert found.description == ""
