# SPDX-License-Identifier: GPL-2.0
"""The C programs that issue commands: who compiles them, and what they are given; needs no guest.

The cache has one file for all modules, so that a module that is checked must not get at it.
"""

import hashlib
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pyharness.errors import CheckFailed
from pyharness.interceptor import command_programs, guest_program
from pyharness.interceptor.interface import Command, Interface
from pyharness.interceptor.rules.trial import Trial
from pyharness.transport.ssh import Completed

DATA = b"the program"
INTERFACE = Interface(
    custom_syscall=17,
    commands={Command.INTERCEPT: 4, Command.RELEASE: 3, Command.START: 2, Command.STOP: 1},
    status=None,
)


def a_trial(written: str) -> Trial:
    """A trial in whose guest a file that is written has this hash."""
    done = Completed(command="", status=1, stdout=f"{written}  /root/race\n", stderr="")
    guest: Any = SimpleNamespace(run=lambda *_line, **_options: done, put=print)
    module: Any = SimpleNamespace(interface=INTERFACE)
    known: Any = SimpleNamespace(programs={"race": DATA})
    scheme: Any = None
    return Trial(guest, module, known, scheme, "1")


def test_nothing_is_compiled_while_a_module_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    def compiled(*_words: object, **_named: object) -> None:
        pytest.fail("a program was compiled in a guest that has a student's module")

    monkeypatch.setattr(guest_program, "build", compiled)
    found = a_trial(hashlib.sha256(DATA).hexdigest()).program("race")
    assert found == ["/root/race", "17,4,3,2,1"]


def test_a_program_that_is_not_written_as_it_should_be_is_not_run() -> None:
    with pytest.raises(CheckFailed, match="does not write /root/race"):
        a_trial("0" * 64).program("race")


@pytest.mark.parametrize("name", command_programs.NAMES)
def test_a_program_refuses_to_run_without_the_numbers(tmp_path: Path, name: str) -> None:
    """The same file serves every module, whatever numbers its header has."""
    for file in (f"{name}.c", "commands.h"):
        (tmp_path / file).write_bytes(guest_program.source(file))
    compiler = shutil.which("cc")
    if not compiler:
        pytest.skip("this host has no C compiler")
    program = tmp_path / name
    line = [compiler, "-Wall", "-Wextra", "-Werror", "-pthread", "-o", str(program)]
    subprocess.run([*line, str(tmp_path / f"{name}.c")], check=True)
    for argument in ("", "1,2,3,4", "a,b,c,d,e"):
        words = [str(program), argument, *("no-such-kind", "0", "0", "0", "0")]
        done = subprocess.run(words, capture_output=True, check=False)
        assert (done.returncode, done.stdout) == (2, b"")
