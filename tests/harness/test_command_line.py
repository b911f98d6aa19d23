# SPDX-License-Identifier: GPL-2.0
"""The command line where it needs no guest: its words, its streams, its signals."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import click
import pytest
from click.shell_completion import BashComplete
from click.testing import CliRunner

from pyharness import DEFAULT_GUEST, CheckFailed
from pyharness.cli import cli as commands
from pyharness.cli import outcome
from pyharness.cli.trace_command import trace_command
from pyharness.host import signals
from pyharness.host.wording import counted

LINE = [sys.executable, "-m", "pyharness"]
SECONDS = 60


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """In which nothing was ever made."""
    return os.environ | {
        "PYHARNESS_RUN": str(tmp_path / "run"),
        "PYHARNESS_CACHE": str(tmp_path / "cache"),
    }


@pytest.fixture
def run(environment: dict[str, str]) -> Callable[..., str]:
    """Runs a command in this process, to its end; both its outputs."""

    def run(*words: str, status: int = 0) -> str:
        done = CliRunner().invoke(
            commands, words, prog_name="pyharness", env=environment, standalone_mode=False
        )
        said, ended = done.output, done.return_value or 0
        if isinstance(done.exception, click.ClickException):
            ended, said = done.exception.exit_code, said + done.exception.format_message()
        elif done.exception:
            raise done.exception
        assert ended == status, said
        return said

    return run


@pytest.fixture
def start(environment: dict[str, str]) -> Callable[..., str]:
    """Runs it as a process of its own."""

    def start(*words: str | bytes, status: int = 0, **variables: str) -> str:
        done = subprocess.run(
            [*LINE, *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment | variables,
            timeout=SECONDS,
            check=False,
        )
        said = done.stdout.decode(errors="surrogateescape")
        assert done.returncode == status, said
        assert "Traceback" not in said
        return said

    return start


# ---- which guest ----


def test_a_guest_is_named_by_an_argument_or_an_option(run: Callable[..., str]) -> None:
    """Where it is the only argument, in each command that takes one."""
    option_only = {
        "check", "inspect", "load", "intercept", "release", "start", "stop", "trace", "ssh", "gdb",
    }  # fmt: skip
    seen = set()
    for name, command in commands.commands.items():
        options = {option for p in command.params for option in p.opts}
        arguments = {p.name for p in command.params if isinstance(p, click.Argument)}
        if "--guest" in options:
            seen.add(name)
            assert ("names" in arguments) != (name in option_only)
    assert {"doctor", "up", "down", "reset", "halt", "suspend", "status", "console"} <= seen
    assert option_only <= seen
    assert run("down", "bookworm-amd64", "trixie-amd64") == (
        "bookworm-amd64 does not run\ntrixie-amd64 does not run\n"
    )
    assert run("down", "trixie-amd64") == run("down", "--guest", "trixie-amd64")
    assert run("down") == f"{DEFAULT_GUEST} does not run\n"
    assert "trixie-amd64 does not run" in run("halt", "trixie-amd64", status=2)
    assert "no guest is called 'nosuch'" in run("down", "trixie-amd64", "nosuch", status=2)
    assert run("down", "trixie-amd64", "--guest", "trixie-amd64")
    assert "name the guest once" in run("down", "trixie-amd64", "--guest=sid", status=2)


def test_a_guest_in_place_of_another_argument_is_an_error(run: Callable[..., str]) -> None:
    said = run("ssh", "bookworm-amd64", status=2)
    assert "is a guest's name: pyharness ssh --guest bookworm-amd64" in said
    assert "or --guest bookworm-amd64" in run("load", "bookworm-amd64", status=2)


@pytest.mark.parametrize("words", ["--cpus 0", "--cpus -1", "--cpus 9999", "--memory 1",
                                   "--memory 999999999", "--cpus two"])  # fmt: skip
def test_a_size_that_no_guest_has_is_wrong_usage(run: Callable[..., str], words: str) -> None:
    assert "Invalid value for '--" in run("up", *words.split(), status=2)


def test_guests_that_do_not_run_are_listed(
    run: Callable[..., str], environment: dict[str, str]
) -> None:
    for name, left in (("bookworm-i386", "state"), ("bookworm-amd64", "off"), ("trixie-amd64", "")):
        folder = Path(environment["PYHARNESS_RUN"]) / name
        folder.mkdir(parents=True)
        facts = {"guest": name, "accel": "tcg", "port": 1, "pid": 0, "began": "", "owner": None}
        (folder / "machine.json").write_text(json.dumps(facts), encoding="ascii")
        if left:
            (folder / left).touch()
    lines = [line.split(maxsplit=2) for line in run("status").splitlines()]
    assert lines == [
        ["bookworm-i386", "suspended", "pyharness up bookworm-i386 resumes it"],
        ["bookworm-amd64", "off", "pyharness up bookworm-amd64 starts it"],
        ["trixie-amd64", "ended",
         "pyharness up trixie-amd64 starts a new one, as its state is lost"],
    ]  # fmt: skip
    assert len(run("status", "bookworm-amd64", "trixie-amd64").splitlines()) == 2
    assert "trixie-arm64 does not run" in run("status", "trixie-arm64")


# ---- words ----


def test_one_thing_is_no_plural() -> None:
    assert [counted(number, "warning") for number in range(3)] == [
        "0 warnings", "1 warning", "2 warnings",
    ]  # fmt: skip


def test_one_report_is_no_plural(run: Callable[..., str], tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("[ 1.0] Kernel panic - not syncing: x\n", encoding="ascii")
    assert run("decode", str(log), status=1).endswith("\n1 report of trouble\n")


def test_version(run: Callable[..., str]) -> None:
    assert run("-V") == run("--version") == f"pyharness, version {version('pyharness')}\n"


# ---- completion ----


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        ("sus", {"suspend"}),
        ("up bullseye-", {"bullseye-i386", "bullseye-amd64"}),
        ("down bullseye-i386 bullseye-", {"bullseye-amd64"}),
        ("ssh --guest trixie-a", {"trixie-amd64", "trixie-amd64-debug", "trixie-arm64"}),
        ("console trixie-ar", {"trixie-arm64"}),
        ("intercept --guest bookworm-i386 mkd", {"mkdir", "mkdirat"}),
        ("start --guest bookworm-arm64 mkd", {"mkdirat"}),
        ("trace --guest bookworm-i386 open,mkd", {"open,mkdir", "open,mkdirat"}),
        ("snapshot re", {"restore"}),
        ("completion ", {"bash", "zsh", "fish"}),
        ("build --an", {"--anew"}),
    ],
)
def test_what_a_shell_completes(words: str, completed: set[str]) -> None:
    *before, last = words.split(" ")
    found = BashComplete(commands, {}, "pyharness", "_X").get_completions(before, last)
    assert {item.value for item in found} == completed


@pytest.mark.parametrize(
    ("words", "count", "user", "command"),
    [
        ("mkdir sh -c x", False, "root", "sh -c x"),
        ("-cT mkdir --as nobody sh -c -- x", True, "nobody", "sh -c -- x"),
        ("--as nobody mkdir -c -- -x -c", True, "nobody", "-x -c"),
        ("--as=nobody -- mkdir ls --as root", False, "nobody", "ls --as root"),
    ],
)
def test_options_of_trace_end_where_the_command_begins(
    words: str, count: bool, user: str, command: str
) -> None:
    params = trace_command.make_context("trace", words.split()).params
    assert (params["syscalls"], params["count"], params["user"]) == ("mkdir", count, user)
    assert " ".join(params["command"]) == command


def test_a_shell_takes_the_completion(run: Callable[..., str], tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text(run("completion", "bash"), encoding="utf-8")
    own = tmp_path / "bin" / "pyharness"
    own.parent.mkdir()
    own.write_text(f'#!/bin/sh\nexec {sys.executable} -m pyharness "$@"\n', encoding="utf-8")
    own.chmod(0o755)
    typed = (
        f". {script}; PATH={own.parent}:$PATH; COMP_WORDS=(pyharness up bullseye-i); COMP_CWORD=2;"
        ' $(complete -p pyharness | sed "s/.*-F //; s/ .*//") pyharness; echo "${COMPREPLY[@]}"'
    )
    done = subprocess.run(
        ["bash", "-c", typed], capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert done.stdout == "bullseye-i386\n", done.stderr
    for shell in ("zsh", "fish"):
        assert "_PYHARNESS_COMPLETE" in run("completion", shell)


# ---- what ends a command ----


@pytest.mark.parametrize(
    ("error", "ended"),
    [
        (CheckFailed("no"), (1, "no")),
        (signals.Interrupted(signal.SIGTERM), (143, "terminated")),
        (signals.Interrupted(signal.SIGHUP), (129, "hung up")),
        (KeyboardInterrupt(), (130, "interrupted")),
        (BrokenPipeError(32, "Broken pipe"), (141, "")),
        (OSError(5, "Input/output error"), (129, "")),
        (OSError(5, "Input/output error", "/f"), (3, "/f: Input/output error")),
        (PermissionError(13, "Permission denied", b"/f"), (3, "/f: Permission denied")),
        (OSError(28, "No space left on device"), (3, "this host refuses: No space left on device")),
        (TypeError(), None),
    ],
)
def test_what_ends_a_command(error: BaseException, ended: tuple[int, str] | None) -> None:
    assert outcome.of(error) == ended


PROGRAM = """
import os, signal, sys, time
from pyharness.host import signals
signals.install()
try:
    {body}
except KeyboardInterrupt as error:
    print("cleaning up after", error, flush=True)
    time.sleep({cleaning})
    print("done", flush=True)
"""


@contextmanager
def program(
    body: str, *, cleaning: float = 0, ignored: str = ""
) -> "Iterator[subprocess.Popen[str]]":
    """A program that has said "ready", and cleans up when it is interrupted."""
    before = [
        "env",
        "--default-signal=INT,TERM,HUP",
        *([f"--ignore-signal={ignored}"] * bool(ignored)),
    ]
    with subprocess.Popen(
        [*before, sys.executable, "-c", PROGRAM.format(body=body, cleaning=cleaning)],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


WAIT = 'print("ready", flush=True); time.sleep(1000)'


@pytest.mark.parametrize(("number", "word"), signals.SIGNALS.items())
def test_a_signal_lets_a_command_clean_up(number: signal.Signals, word: str) -> None:
    with program(WAIT) as process:
        process.send_signal(number)
        assert process.communicate()[0] == f"cleaning up after {word}\ndone\n"


def test_a_signal_that_comes_again_does_not_stop_the_clean_up() -> None:
    """As timeout(1) and a closed terminal send it; Ctrl-C is a person who means it."""
    with program(WAIT, cleaning=1000) as process:
        assert process.stdout
        process.send_signal(signal.SIGHUP)
        assert process.stdout.readline() == "cleaning up after hung up\n"
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGTERM)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.5)
        process.send_signal(signal.SIGINT)
        assert process.wait(SECONDS) != 0


def test_a_signal_that_is_ignored_stays_so() -> None:
    """By nohup."""
    with program(WAIT, ignored="HUP") as process:
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGTERM)
        assert process.communicate()[0] == "cleaning up after terminated\ndone\n"


HELD = """
    with signals.held() as interruption:
        print("ready", flush=True)
        sys.stdin.readline()
        print("held", flush=True)
        try:
            interruption()
        finally:
            print("left", flush=True)
"""


@pytest.mark.parametrize(("number", "word"), signals.SIGNALS.items())
def test_a_signal_is_held_back_until_it_is_asked_for(number: signal.Signals, word: str) -> None:
    line = ["env", "--default-signal=INT,TERM,HUP", sys.executable, "-c"]
    with subprocess.Popen(
        [*line, PROGRAM.format(body=HELD.strip(), cleaning=0)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        said, _ = process.communicate("\n")
    assert said == f"held\nleft\ncleaning up after {word}\ndone\n"


def test_output_that_nobody_reads_is_noticed() -> None:
    """Before anything is written to it."""
    reader, writer = os.pipe()
    body = "from pyharness.host import signals; signals.check_output()"
    line = [sys.executable, "-c", body]
    assert subprocess.run(line, stdout=writer, check=False).returncode == 0
    os.close(reader)
    done = subprocess.run(line, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert "BrokenPipeError" in done.stderr


ENDED = """
    import subprocess
    child = subprocess.Popen(["sleep", "1000"], stdout=subprocess.PIPE)
    with signals.ended(child):
        print("ready", flush=True)
        print(child.pid, flush=True)
        time.sleep(1000)
"""


def test_a_child_ends_with_its_block() -> None:
    """Though the signal was for its parent alone."""
    with program(ENDED.strip()) as process:
        assert process.stdout
        child = int(process.stdout.readline())
        process.send_signal(signal.SIGTERM)
        assert process.communicate()[0] == "cleaning up after terminated\ndone\n"
    assert not Path(f"/proc/{child}").exists()


# ---- streams ----


@pytest.mark.parametrize(
    "variables",
    [
        {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"PYTHONIOENCODING": "iso8859-1:strict"},
        {"PYTHONIOENCODING": "utf-8:strict"},
    ],
)
def test_any_encoding_will_do(
    start: Callable[..., str], variables: dict[str, str], tmp_path: Path
) -> None:
    """For signs that it lacks, and for names that are no text at all."""
    assert "mmdebstrap" in start("doctor", status=3, PATH=str(tmp_path), **variables)
    odd = os.fsencode(tmp_path) + b"/\xff\xe2\x82\xac.log"
    assert "No such file" in start("decode", odd, status=2, **variables)


def test_a_sign_that_an_encoding_lacks_is_replaced() -> None:
    printed = r"'\u2192\u20ac\xe9\udcff'"
    program = f"from pyharness.cli import streams; streams.set_up(); print({printed})"
    done = subprocess.run(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONIOENCODING": "iso8859-1"},
        check=True,
    )
    assert done.stdout == b"->\\u20ac\xe9\xff\n"


def test_a_reader_that_leaves_is_no_error(environment: dict[str, str]) -> None:
    line = f"{sys.executable} -m pyharness list | true; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", line], env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout in ("0\n", "141\n")  # it may be done by then
    assert done.stderr == ""


@pytest.mark.parametrize("closed", [">&-", "<&- >&- 2>&-"])
def test_closed_streams_are_no_error(environment: dict[str, str], closed: str) -> None:
    line = f"{sys.executable} -m pyharness list {closed}; echo $? >&3"
    done = subprocess.run(
        ["bash", "-c", f"{{ {line}; }} 3>&1 >/dev/null"],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("0\n", "")


def test_a_full_disk_is_one_sentence(environment: dict[str, str]) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [*LINE, "list"], env=environment, stdout=full, stderr=subprocess.PIPE, check=False
        )
    assert done.returncode == 3
    assert done.stderr == b"pyharness: this host refuses: No space left on device\n"


# ---- what a person may type by mistake ----


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        ("inspect /etc", 2, "/etc can't be read: Is a directory"),
        ("inspect --module /etc/passwd", 2, "is a file"),
        ("decode /etc", 2, "Is a directory"),
        ("decode /nosuch", 2, "No such file"),
        ("decode /bin/true", 0, "no report of trouble"),
        ("decode /dev/null --ko /etc", 2, "/etc can't be read: Is a directory"),
        ("build --module /nosuch", 2, "does not exist"),
        ("unload --module /etc", 2, "/etc has neither Kbuild nor Makefile"),
        ("start mkdir 0 --module /etc", 2, "/etc has neither Kbuild nor Makefile"),
        ("trace mkdir --module /etc -- true", 2, "/etc has neither Kbuild nor Makefile"),
        ("trace , -- true", 2, "has no system call ''"),
        ("trace nosuch -- true", 2, "has no system call 'nosuch'"),
        ("intercept mkdirr", 2, "has no system call 'mkdirr'"),
        ("inspect /nosuch.ko", 2, "/nosuch.ko can't be read"),
        ("start mkdir", 2, "Missing argument 'PID'"),
        ("start mkdir one", 2, "'one' is not a valid integer"),
        ("start mkdir 4294967296", 2, "Invalid value for 'PID': 4294967296 is not in the range"),
        ("stop mkdir -2147483649", 2, "Invalid value for 'PID': -2147483649 is not in the range"),
        ("intercept 4294967335", 2, "has no system call '4294967335'"),
        ("release 0x100000027", 2, "has no system call '0x100000027'"),
        ("trace 4294967335 -- true", 2, "has no system call '4294967335'"),
        ("build --module /etc", 2, "/etc has neither Kbuild nor Makefile"),
        ("load --module /etc", 2, "/etc has neither Kbuild nor Makefile"),
        ("inspect --module /etc", 2, "/etc has neither Kbuild nor Makefile"),
        ("bench --module /etc", 2, "/etc has neither Kbuild nor Makefile"),
        ("demo --module /etc", 2, "/etc has neither Kbuild nor Makefile"),
        ("ssh --guest nosuch df -h", 2, "no guest is called 'nosuch'"),
        ("nosuch", 2, "No such command 'nosuch'"),
        ("load =1", 2, "'=1' is not a parameter of a module: write NAME=VALUE"),
        ("up --guest ", 2, "no guest is called ''"),
        ("up --guest nosuch", 2, "no guest is called 'nosuch'; there are: bookworm-i386"),
        ("load direct", 2, "'direct' is not a parameter of a module: write NAME=VALUE"),
        ("completion tcsh", 2, "is not one of"),
        ("snapshot", 2, "Usage: pyharness snapshot"),
    ],
)
def test_a_mistake_is_one_sentence(
    run: Callable[..., str], words: str, status: int, message: str
) -> None:
    assert message in run(*words.split(" "), status=status)


def test_a_file_that_is_no_module_is_an_error(run: Callable[..., str], tmp_path: Path) -> None:
    ko = tmp_path / "x.ko"
    for data in (b"", b"text", b"\x7fELF", os.urandom(2000), b"\x7fELF" + os.urandom(2000)):
        ko.write_bytes(data)
        assert f"{ko}: " in run("decode", "/dev/null", "--ko", str(ko), status=1)
        assert f"{ko}: " in run("inspect", str(ko), status=1)


def test_the_second_interrupt_comes_through_nested_holds() -> None:
    reached = []

    def interrupted_twice() -> None:
        with signals.held(), signals.held():
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
            reached.append("what follows")

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            interrupted_twice()
    finally:
        signal.signal(signal.SIGINT, before)
    assert not reached


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("true",), 2, "no module was loaded whose source is in"),
        (("sh", "-c", "exit 7"), 7, "no module was loaded"),
        (("sh", "-c", "kill -SEGV $$"), 128 + signal.SIGSEGV, "no module was loaded"),
        (("nosuch-program",), 3, "nosuch-program can't be run: No such file"),
        ((), 2, "Missing argument 'COMMAND...'"),
    ],
)
def test_coverage_of_a_command_that_uses_no_module(
    run: Callable[..., str], words: tuple[str, ...], status: int, said: str
) -> None:
    assert said in run("coverage", *(("--", *words) if words else ()), status=status)


def test_a_kernel_that_there_is_not_is_named(start: Callable[..., str], tmp_path: Path) -> None:
    said = start("up", "--kernel", str(tmp_path), status=2)
    assert f"{tmp_path} is not a kernel's tree: it has no .config" in said
    package = tmp_path / "image.txt"
    package.touch()
    assert f"{package} is not a kernel: name the folder" in start(
        "up", "--kernel", str(package), status=2
    )
