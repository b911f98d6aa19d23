# SPDX-License-Identifier: GPL-2.0
"""The command line, as a person types it, with machines apart from those of this host's user."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from click.testing import CliRunner
from command_runner import SECONDS, Cli

import pyharness
from pyharness import Guest
from pyharness.cli import cli as commands_of_it
from pyharness.host import bundled, cache, packages
from pyharness.machine import lifecycle
from pyharness.machine.qemu_process import Machine

# needs the image and the saved state, which the fixture sees to
pytestmark = [pytest.mark.usefixtures("guest"), pytest.mark.alone]


def test_help_of_every_command(cli: Cli) -> None:
    run = CliRunner()
    commands = cli("--help").split("Commands:")[1].splitlines()[1:]
    names = [line.split()[0] for line in commands if line.startswith("  ") and line.strip()]
    wanted = (
        "doctor list up down halt suspend snapshot reset status ssh console build inspect load"
        " unload intercept release start stop log trace demo bench decode setup completion"
    )
    assert set(wanted.split()) <= set(names)
    for name in wanted.split():
        assert "Usage:" in run.invoke(commands_of_it, [name, "--help"]).output


def test_doctor(cli: Cli, guest: Guest) -> None:
    said = cli("doctor")
    assert "MISSING" not in said
    assert "accelerator: " in said
    assert f"this host can run {guest.facts.name}" in said


def test_doctor_names_the_fix(guest: Guest, tmp_path: Path) -> None:
    """On a host that has nothing but Python."""
    bare = Cli(tmp_path)
    bare.env["PATH"] = str(tmp_path)
    said = bare("doctor", status=3)
    assert packages.advice(["mmdebstrap"]) in said
    assert packages.advice([guest.qemu.saved_state.spec.qemu]) in said


def test_up_and_status(cli: Cli, guest: Guest) -> None:
    assert "runs already" in cli("up", guest.facts.name)
    cpus, memory = guest.facts.cpus, guest.qemu.saved_state.spec.memory
    assert "runs already" in cli("up", f"--cpus={cpus}", f"--memory={memory}")
    said = cli("up", f"--cpus={cpus + 1}", status=2)
    assert f" is running with {cpus} CPUs and {memory} MiB of memory: end it by" in said
    said = cli("status")
    assert "running" in said
    assert "stays until down" in said
    (facts,) = json.loads(cli("status", "--json"))
    assert (facts["guest"], facts["state"]) == (guest.facts.name, "running")
    assert facts["host_key"] == guest.qemu.saved_state.image.host_key
    assert f"image of kernel {guest.facts.release} " in cli("list")


def test_ssh_passes_all_through(cli: Cli) -> None:
    done = subprocess.run(
        [*cli.line, "ssh", "--", "sh", "-c", 'cat; echo "two  words" >&2; exit 7'],
        input="one\n",
        capture_output=True,
        text=True,
        env=cli.env,
        timeout=SECONDS,
        check=False,
    )
    assert (done.stdout, done.stderr, done.returncode) == ("one\n", "two  words\n", 7)


def test_console_is_a_shell(cli: Cli) -> None:
    process = subprocess.Popen(
        [*cli.line, "console"],
        env=cli.env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdin
    assert process.stdout
    process.stdin.write(b"echo a''b$((40 + 2))c\n")
    process.stdin.flush()
    said = b""
    while b"ab42c" not in said:
        data = os.read(process.stdout.fileno(), 4096)
        assert data, said
        said += data
    process.communicate(b"\x1d", timeout=SECONDS)
    assert process.returncode == 0


def test_build_and_inspect(cli: Cli, guest: Guest) -> None:
    assert "0 warnings" in cli("build")
    said = cli("inspect")
    assert "license:       GPL" in said
    assert f"{guest.facts.name} can load it" in said


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not an ELF file"),
        (b"#!/bin/sh\n", "not an ELF file"),
        (b"\x7fELF", "damaged ELF file|truncated ELF file"),
        (Path("/bin/true").read_bytes(), "not a kernel module"),
    ],
)
def test_inspect_refuses(cli: Cli, tmp_path: Path, data: bytes, message: str) -> None:
    ko = tmp_path / "x.ko"
    ko.write_bytes(data)
    said = cli("inspect", str(ko), status=1)
    assert any(part in said for part in message.split("|"))


def test_load_and_the_four_commands(loaded: Cli, guest: Guest) -> None:
    number = guest.syscalls.number("mkdir")
    done = f"mkdir ({number}): 0"
    assert "loaded already" in loaded("load", status=2)
    assert loaded("intercept", "mkdir").strip() == done
    assert "-1 EBUSY (Device or resource busy)" in loaded("intercept", str(number), status=1)
    assert "-1 EPERM" in loaded("intercept", "mkdir", "--as", "nobody", status=1)
    assert done in loaded("start", "mkdir", "0")
    assert "-1 EPERM" in loaded("stop", "mkdir", "1", "--as", "nobody", status=1)
    assert "-1 EINVAL" in loaded("stop", "mkdir", "-1", status=1)
    loaded("ssh", "--", "mkdir", "/tmp", status=1)
    calls = [json.loads(line) for line in loaded("log", "--json").splitlines()]
    assert calls
    assert calls[-1]["syscall"] == "mkdir"
    assert calls[-1]["number"] == number
    assert {"time", "sequence", "pid", "args"} < calls[-1].keys()
    assert f"[{calls[-1]['pid']}] mkdir(" in loaded("log")
    assert done in loaded("stop", "mkdir", "0")
    assert done in loaded("release", "mkdir")


def test_wrong_usage_is_one_sentence(cli: Cli) -> None:
    for words, message in (
        (("build", "--module", "/etc"), "/etc has neither Kbuild nor Makefile"),
        (("unload",), "interceptor is not loaded: pyharness load"),
        (("snapshot", "restore", "nosuch"), "there is no snapshot 'nosuch'; there are: none"),
        (("snapshot", "save", "1"), "'1' is not a name for a snapshot"),
    ):
        assert message in cli(*words, status=2)


def test_unknown_user(loaded: Cli) -> None:
    assert "no user 'nosuch'" in loaded("intercept", "mkdir", "--as", "nosuch", status=2)


def test_an_interrupted_build_ends_wherever_it_runs(cli: Cli, tmp_path: Path) -> None:
    """On this host, or in the guest if this host can't run its compiler."""
    seconds = str(10_000_000 + os.getpid())  # of this test's own sleep, among others'
    (tmp_path / "Makefile").write_text(f"all:\n\tsleep {seconds}\n", encoding="ascii")

    def builds() -> bool:
        here = (process.info["cmdline"] for process in psutil.process_iter(["cmdline"]))
        there = cli("ssh", "--", f"ps -eo args | grep -c '[s]leep {seconds}' || true")
        return ["sleep", seconds] in here or there != "0\n"

    process = cli.start("build", "--module", str(tmp_path))
    while not builds():
        assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=SECONDS)
    assert process.returncode == 143
    assert not builds()


def test_reset_brings_back_a_guest_that_panicked(cli: Cli, guest: Guest) -> None:
    process = cli.start("ssh", "--", "echo c > /proc/sysrq-trigger")
    run = Path(cli.env["PYHARNESS_RUN"]) / guest.facts.name
    machine = Machine.of(run)
    assert machine
    while machine.status() == "running":
        assert process.poll() in (None, 0, 255)
    assert "guest-panicked" in cli("status")
    process.kill()
    process.communicate()
    said = cli("build", "--anew", status=4)
    assert "panicked" in said
    assert "sysrq: Trigger a crash" in said or "Kernel panic - not syncing" in said
    assert "as it was booted" in cli("reset")
    assert cli("ssh", "--", "echo", "alive") == "alive\n"


def test_down_ends_it(guest: Guest, tmp_path: Path) -> None:
    """Ending is for down alone; ended twice is no mistake. A death by itself is reported, once."""
    apart = Cli(tmp_path / "run")
    assert "died" not in apart("up")
    machine = Machine.of(tmp_path / "run" / guest.facts.name)
    assert machine
    os.kill(machine.pid, signal.SIGKILL)
    while machine.alive:
        pass
    assert "ended      pyharness up" in apart("status")
    said = apart("build")
    assert f"the QEMU of {guest.facts.name} has exited, and the guest's state is lost" in said
    assert "died" not in apart("build")
    machine = Machine.of(tmp_path / "run" / guest.facts.name)
    assert machine
    assert machine.alive
    assert f"ended {guest.facts.name}" in apart("down")
    assert not machine.alive
    assert "does not run" in apart("down")
    assert list((tmp_path / "run").iterdir()) == []


def test_a_guest_ends_with_its_owner_even_by_kill(tmp_path: Path) -> None:
    """SIGKILL gives nobody a chance to clean up: the kernel must end QEMU."""
    env = os.environ | {"PYHARNESS_RUN": str(tmp_path)}
    program = (
        "import pyharness; g = pyharness.boot(); print(g.qemu.machine.folder, flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program],
        env=env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        machine = Machine.of(Path(process.stdout.readline().strip()))
        assert machine
        assert machine.alive
        process.kill()
    while machine.alive:
        pass
    assert machine.orphaned
    Cli(tmp_path)("down")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.variants
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_image_making_that_is_ended_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    """No process, and nothing mounted: whoever removes the rest can't reach into the host."""
    apart = Cli(tmp_path / "run")
    apart.env["PYHARNESS_CACHE"] = str(tmp_path / "cache")
    process = apart.start("up")
    assert process.stdout
    while "installing the base system" not in process.stdout.readline():
        assert process.poll() is None
    process.send_signal(number)
    process.communicate()
    if number == signal.SIGTERM:
        assert process.returncode == 128 + number
        assert [*(tmp_path / "cache" / "images").iterdir()] == []
    mounts = Path("/proc/self/mounts")
    while str(tmp_path) in mounts.read_text(encoding="utf-8") or any(
        str(tmp_path) in " ".join(found.info["cmdline"] or ())
        for found in psutil.process_iter(["cmdline"])
        if found.status() != psutil.STATUS_ZOMBIE
    ):
        pass
    assert list((tmp_path / "cache" / "images").glob("[!.]*")) == []


@pytest.mark.parametrize("end", ["SIGTERM", "terminal"])
def test_a_boot_that_is_ended_leaves_nothing(guest: Guest, tmp_path: Path, end: str) -> None:
    cache_folder = tmp_path / "cache"
    cache_folder.mkdir()
    for name in ("images", "ssh", "accel"):
        if (known := cache.folder() / name).exists():
            (cache_folder / name).symlink_to(known)
    apart = Cli(tmp_path / "run")
    apart.env["PYHARNESS_CACHE"] = str(cache_folder)
    if end == "terminal":
        assert apart.until_gone(end, b"booting", "up") == 128 + signal.SIGHUP
    else:
        process = apart.start("up")
        assert process.stdout
        while "booting" not in process.stdout.readline():
            assert process.poll() is None
        process.terminate()
        rest, _ = process.communicate(timeout=SECONDS)
        assert process.returncode == 128 + signal.SIGTERM, rest
    assert [*(cache_folder / "saved-states").iterdir()] == []
    assert list((tmp_path / "run").iterdir()) == []


def test_two_guests_side_by_side(guest: Guest) -> None:
    with pyharness.boot(guest.facts.name) as other:
        assert other.qemu.machine.port != guest.qemu.machine.port
        other.run("hostname other && touch /root/mark").check()
        assert guest.run("test -e /root/mark").status == 1
        assert guest.run("hostname").stdout != other.run("hostname").stdout
        seeds = {g.run("head -c 16 /dev/urandom | base64").stdout for g in (guest, other)}
        assert len(seeds) == 2
    assert other.qemu.machine.folder.name not in {m.folder.name for m in lifecycle.all_machines()}


def test_demo(cli: Cli) -> None:
    said = cli("demo")
    assert "all 11 steps passed" in said
    assert "decoded: [" in said


def test_demo_of_a_broken_module_fails(cli: Cli, tmp_path: Path) -> None:
    folder = tmp_path / "broken"
    folder.mkdir()
    (folder / "Kbuild").write_text("obj-m := broken.o\n", encoding="ascii")
    (folder / "broken.c").write_text("#error broken on purpose\n", encoding="ascii")
    (folder / "Makefile").write_text(
        "modules:\n\t$(MAKE) -C /lib/modules/$(shell uname -r)/build M=$(CURDIR) $@\n",
        encoding="ascii",
    )
    said = cli("demo", "--module", str(folder), status=1)
    assert "BAD build" in said
    assert "broken on purpose" in said


def test_a_guest_of_an_older_image_is_entered_all_the_same(guest: Guest, tmp_path: Path) -> None:
    """The project may have gone on since it was started; its host key is the old image's."""
    files = tmp_path / "vm"
    shutil.copytree(bundled.VM, files)
    apart = Cli(tmp_path / "run")
    apart("up")
    (files / "excluded").write_text("# changes what images are made of\n", encoding="ascii")
    program = (
        "import sys; from pathlib import Path; from pyharness.host import bundled;"
        f"bundled.VM = Path({str(files)!r}); from pyharness.cli import main; main()"
    )
    newer = Cli(tmp_path / "run")
    newer.line = [sys.executable, "-c", program]
    assert f"from an older image: pyharness reset {guest.facts.name} renews it" in newer("up")
    assert newer("ssh", "--", "echo", "in") == "in\n"
    assert "0 warnings" in newer("build")
    newer("down")


def test_a_suspended_guest_is_resumed_once(tmp_path: Path) -> None:
    """By two commands at once: the second enters the machine that the first has started."""
    apart = Cli(tmp_path / "run")
    apart("up")
    try:
        for _ in range(3):
            apart("suspend")
            both = [apart.start("ssh", "--", "echo", "there") for _ in range(2)]
            said = [process.communicate(timeout=SECONDS)[0] for process in both]
            assert [process.returncode for process in both] == [0, 0], said
            assert all(text.endswith("there\n") for text in said), said
            # Others may boot guests meanwhile, to save their states.
            listed = [line for line in apart("status").splitlines() if line[0] != "."]
            assert len(listed) == 1
            assert "running" in listed[0]
    finally:
        apart("down")
