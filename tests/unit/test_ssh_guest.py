# SPDX-License-Identifier: GPL-2.0
"""What is asked of a guest that is known by SSH alone; the guests are stand-ins."""

import subprocess
from pathlib import Path
from typing import cast

import pytest

from pyharness import GuestError, UsageError
from pyharness.guest import ssh_backend
from pyharness.guest.backend import GuestFacts
from pyharness.machine import saved_states
from pyharness.transport.ssh import Completed, Ssh

UNAME = "#!/bin/sh\ncase $1 in -r) echo 6.5.6-300.fc39;; *) echo {machine};; esac\n"


class There:
    """A guest whose shell first runs a start-up file."""

    def __init__(self, start: str) -> None:
        """Have the shell run that first."""
        self._start = start

    def run(self, command: str, **_: object) -> Completed:
        line = ["sh", "-c", f"{self._start}\n{command}"]
        done = subprocess.run(line, capture_output=True, text=True, check=False)
        return Completed(
            command=command, status=done.returncode, stdout=done.stdout, stderr=done.stderr
        )


@pytest.fixture(autouse=True)
def cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYHARNESS_CACHE", str(tmp_path / "cache"))
    kernel = saved_states.KernelFacts("6.5 SMP", "", "")
    monkeypatch.setattr(saved_states, "kernel_facts", lambda *_, **__: kernel)


def look(tmp_path: Path, start: str = "", machine: str = "x86_64") -> GuestFacts:
    """Ask a guest that has neither dpkg nor other programs of Debian's."""
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "uname").write_text(UNAME.format(machine=machine), encoding="ascii")
    (programs / "nproc").write_text("#!/bin/sh\necho 4\n", encoding="ascii")
    (programs / "dpkg").write_text("#!/bin/sh\nexit 127\n", encoding="ascii")
    for program in programs.iterdir():
        program.chmod(0o755)
    there = There(f"PATH={programs}:/usr/bin:/bin\n{start}")
    return ssh_backend._look(cast("Ssh", there), "lab7:22")


@pytest.mark.parametrize(
    ("machine", "architecture"), [("x86_64", "amd64"), ("i686", "i386"), ("aarch64", "arm64")]
)
def test_a_guest_needs_no_dpkg(tmp_path: Path, machine: str, architecture: str) -> None:
    facts = look(tmp_path, machine=machine)
    assert facts.architecture == architecture
    assert facts.cpus == 4
    assert facts.release == "6.5.6-300.fc39"


def test_another_architecture_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="lab7:22 is of architecture riscv64, which is not"):
        look(tmp_path, machine="riscv64")


def test_a_shell_that_prints_something_is_named(tmp_path: Path) -> None:
    with pytest.raises(GuestError, match="the shell of lab7:22 prints 'Welcome to lab7' before"):
        look(tmp_path, "echo Welcome to lab7; echo")


@pytest.mark.parametrize("start", ["exit", "exit 1", "echo This account is not available.; exit"])
def test_a_shell_that_runs_nothing_is_named(tmp_path: Path, start: str) -> None:
    with pytest.raises(GuestError, match="lab7:22 does not answer as a Linux system"):
        look(tmp_path, start)


@pytest.mark.parametrize("said", ["sudo: a password is required", "sh: 1: Syntax error"])
def test_what_a_guest_gives_as_its_reason_is_shown(tmp_path: Path, said: str) -> None:
    with pytest.raises(GuestError, match=f"lab7:22 can't run a command: .*{said}"):
        look(tmp_path, f"echo a lecture >&2; echo '{said}' >&2; exit 1")
