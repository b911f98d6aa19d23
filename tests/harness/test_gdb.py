# SPDX-License-Identifier: GPL-2.0
"""gdb on a guest's kernel: ``pyharness gdb``, and ``pytest --gdb`` where a test fails."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pexpect
import psutil
import pytest

from pyharness import Guest
from pyharness.errors import UsageError
from pyharness.host import bundled
from pyharness.machine.qemu_process import DEBUGGED, Machine

PROMPT = r"\(gdb\) "
FAILING = """
import pytest

def test_wrong(guest, module_folder):
    guest.load(module_folder)
    assert guest.run("true").status == 1

def test_after(guest):
    guest.run("true").check()

def test_panic(guest):
    guest.run("echo c > /proc/sysrq-trigger")

@pytest.fixture
def warning(guest):
    yield
    guest.run("echo '<4>WARNING: CPU: 0 PID: 1 at made_up.c:1 made_up+0x1/0x2' > /dev/kmsg").check()

def test_teardown(guest, warning):
    pass
"""

pytestmark = [pytest.mark.usefixtures("guest"), pytest.mark.alone, pytest.mark.test_limit(600)]


class Gdb:
    """A terminal with a gdb."""

    def __init__(self, process: "pexpect.spawn[str]") -> None:
        self.process = process

    def until(self, *patterns: str) -> str:
        """Wait for one of some patterns; all that was printed before its end."""
        self.process.expect([*patterns])
        return f"{self.process.before}{self.process.after}"

    def send(self, line: str) -> None:
        """Type a line."""
        self.process.sendline(line)

    def __call__(self, line: str) -> str:
        """Type a line, and return what gdb prints until it is ready for the next."""
        self.send(line)
        return self.until(PROMPT)


@contextmanager
def terminal(folder: Path, run: Path, *words: str) -> Iterator[Gdb]:
    """Run a program of Python's in a terminal."""
    environment = os.environ | {"PYHARNESS_RUN": str(run), "PYTEST_ADDOPTS": "", "TERM": "dumb"}
    process = pexpect.spawn(
        sys.executable, ["-m", *words], cwd=folder, env=environment, encoding="utf-8",
        codec_errors="replace", timeout=300, dimensions=(50, 200),
    )  # fmt: skip
    try:
        yield Gdb(process)
    finally:
        process.close(force=True)


@contextmanager
def debugged(folder: Path, run: Path, name: str) -> Iterator[Gdb]:
    """Run ``pyharness gdb`` in a terminal, up to its prompt."""
    with terminal(folder, run, "pyharness", "gdb", "--guest", name) as gdb:
        gdb.until(PROMPT)
        yield gdb


def machine_in(run: Path, name: str) -> Machine:
    """The machine of a guest."""
    machine = Machine.of(run / name)
    assert machine
    return machine


def pyharness(run: Path, *words: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "pyharness", *words],
        env=os.environ | {"PYHARNESS_RUN": str(run)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def said_by(run: Path, *words: str) -> str:
    with pyharness(run, *words) as process:
        said = process.communicate(timeout=300)[0]
    assert process.returncode == 0, said
    return said


@pytest.fixture
def run(tmp_path: Path, guest: Guest) -> Iterator[Path]:
    """A folder with a persistent guest like that of this test."""
    folder = tmp_path / "run"
    said_by(folder, "up", guest.facts.name)
    yield folder
    said_by(folder, "down", guest.facts.name)


def test_a_breakpoint_in_init_stops_the_guest(run: Path, guest: Guest, tmp_path: Path) -> None:
    name = guest.facts.name
    machine = machine_in(run, name)
    with debugged(tmp_path, run, name) as gdb:
        gdb("break interceptor_init")
        gdb("break interceptor_exit")
        gdb.send("continue")
        with pyharness(run, "load", "--guest", name) as load:
            gdb.until(r"Breakpoint \d\S*, .*interceptor_init .*interceptor\.c:\d+")
            gdb.until(PROMPT)
            assert re.search(
                r"#0 .*interceptor_init.*#1 .*in do_one_initcall", gdb("bt"), re.DOTALL
            )
            assert machine.status() == DEBUGGED
            assert re.search(rf"^{name} +{DEBUGGED} ", said_by(run, "status"), re.MULTILINE)
            assert load.poll() is None  # neither ended nor taken for the victim of a crash
            assert "static int __init interceptor_init(void)" in gdb("list interceptor_init")
            gdb.send("continue")
            assert "is loaded in" in load.communicate(timeout=300)[0]
        gdb.process.sendintr()
        gdb.until("received signal SIGINT")
        gdb.until(PROMPT)
        # What the module has loaded elsewhere the next time, gdb finds there.
        gdb.send("continue")
        for _ in range(2):
            with pyharness(run, "unload", name) as unload:
                gdb.until(r"Breakpoint \d\S*, .*interceptor_exit")
                gdb.until(PROMPT)
                gdb.send("continue")
                assert "is unloaded" in unload.communicate(timeout=300)[0]
            with pyharness(run, "load", "--guest", name) as load:
                gdb.until(r"Breakpoint \d\S*, .*interceptor_init")
                gdb.until(PROMPT)
                gdb.send("continue")
                assert "is loaded in" in load.communicate(timeout=300)[0]
        gdb.process.sendintr()
        gdb.until(PROMPT)
        with terminal(tmp_path, run, "pyharness", "gdb", "--guest", name) as other:
            other.until(f"gdb debugs {name}: quit it first")
        gdb.send("quit")
        gdb.process.expect(pexpect.EOF)
    assert machine.status() == "running"
    # A module that is loaded already has its symbols at once.
    with debugged(tmp_path, run, name) as gdb:
        place = gdb("break interceptor_exit")
        assert re.search(r"Breakpoint \d at 0x[0-9a-f]+: file .*interceptor\.c", place)
        assert "kill would end the guest" in gdb("kill")
    assert machine.status() == "running"


def test_symbols_of_another_build_are_left_out(run: Path, guest: Guest, tmp_path: Path) -> None:
    name, folder = guest.facts.name, tmp_path / "module"
    shutil.copytree(bundled.MODULE, folder)
    options = ("--guest", name, "--module", str(folder))
    said_by(run, "load", *options)
    source = folder / "interceptor.c"
    source.write_text(f'{source.read_text()}\nMODULE_ALIAS("another");\n', encoding="utf-8")
    said = said_by(run, "gdb", *options, "--", "-batch", "-ex", "info functions interceptor_exit")
    assert "gdb does not know interceptor: another build of it is loaded" in said
    assert "interceptor_exit(void)" not in said


@pytest.mark.variants
@pytest.mark.parametrize("stopped", [False, True])
@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM, signal.SIGKILL])
def test_a_gdb_that_is_killed_leaves_nothing(
    run: Path, guest: Guest, tmp_path: Path, number: signal.Signals, *, stopped: bool
) -> None:
    name = guest.facts.name
    machine = machine_in(run, name)
    with debugged(tmp_path, run, name) as gdb:
        gdb("break interceptor_init")
        if not stopped:
            gdb.send("continue")
            gdb.until("Continuing")
            guest.wait("the guest to run on", lambda: machine.status() == "running")
        # The process that was started, and gdb: as when a terminal or a container is closed.
        child = psutil.Process(gdb.process.pid)
        for process in (child, *child.children()):
            process.send_signal(number)
        gdb.process.expect(pexpect.EOF)
    # No breakpoint of it is hit, and none of those who wait for the guest waits for ever.
    assert "is loaded in" in said_by(run, "load", "--guest", name)
    assert machine.status() == "running"
    with pytest.raises(UsageError, match="quit it first"), machine.gdb_server():
        machine.check_no_gdb()


def test_many_short_stops_are_no_hang(run: Path, guest: Guest, tmp_path: Path) -> None:
    name = guest.facts.name
    with debugged(tmp_path, run, name) as gdb:
        gdb("break vfs_mkdir")
        gdb.send("continue")
        script = "for n in 1 2 3 4 5 6 7 8; do mkdir /tmp/$n; done; echo made"
        with pyharness(run, "ssh", "--guest", name, script) as made:
            with pyharness(run, "load", "--guest", name) as load:
                for _ in range(8):
                    gdb.until(r"Breakpoint \d+, ")
                    gdb.until(PROMPT)
                    time.sleep(3)  # the user thinks
                    gdb.send("continue")
                assert "is loaded in" in load.communicate(timeout=300)[0]
            assert "made" in made.communicate(timeout=300)[0]


def test_gdb_of_a_failed_test(guest: Guest, tmp_path: Path) -> None:
    (tmp_path / "test_failing.py").write_text(FAILING, encoding="ascii")
    words = (
        f"--guest={guest.facts.name}",
        f"--module={bundled.MODULE}",
        "--gdb",
        "-p",
        "no:randomly",
    )
    with terminal(tmp_path, tmp_path / "run", "pytest", *words, "test_failing.py") as gdb:
        gdb.until("test_failing.py::test_wrong failed: gdb has stopped")
        gdb.until(PROMPT)
        assert re.search(
            r"at 0x[0-9a-f]+: file .*interceptor\.c, line", gdb("break interceptor_exit")
        )
        gdb.send("quit")
        gdb.until("test_failing.py::test_panic failed: gdb has stopped")
        gdb.until(PROMPT)
        # What the kernel was doing can be seen; it runs no more.
        assert re.search(r"panic|sysrq", gdb("thread apply all bt"))
        gdb.send("quit")
        gdb.until("test_failing.py::test_teardown failed: gdb has stopped")
        gdb.until(PROMPT)
        gdb.send("quit")
        gdb.until("2 failed, 2 passed, 1 error")
        gdb.process.expect(pexpect.EOF)


def test_what_gdb_needs_is_said(guest: Guest, tmp_path: Path) -> None:
    (tmp_path / "test_any.py").write_text("def test_any(guest): pass\n", encoding="ascii")

    def refused(*words: str, **variables: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", *words],
            cwd=tmp_path,
            env=os.environ
            | {"PYHARNESS_RUN": str(tmp_path / "run"), "PYTEST_ADDOPTS": ""}
            | variables,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode not in (0, 1)
        return done.stdout + done.stderr

    named = f"--guest={guest.facts.name}"
    assert "--gdb needs a terminal" in refused("pytest", "--gdb", named)
    assert "run without -n" in refused("pytest", "--gdb", "-n2", named)
    assert re.search(
        r"no gdb for guests of \w+ is installed: pyharness setup debug",
        refused("pyharness", "gdb", named, PATH=str(tmp_path)),
    )
