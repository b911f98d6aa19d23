# SPDX-License-Identifier: GPL-2.0
"""The commands ``trace`` and ``log``, as a person types them."""

import json
import re
import select
import signal
import subprocess
from pathlib import Path

import pytest
from command_runner import SECONDS, Cli

from pyharness import Guest
from pyharness.host import signals

CHANNEL = "/sys/module/interceptor/parameters/log"
INSTANCES = "/sys/kernel/tracing/instances"

# needs the image and the saved state, which the fixture sees to
pytestmark = [pytest.mark.usefixtures("guest"), pytest.mark.alone]


def test_trace(cli: Cli) -> None:
    """The module is loaded for it alone; nothing is left behind."""
    body = "mkdir /tmp 2>&-; echo done; echo gone >&2; exit 5"
    said = cli("trace", "mkdir,getpid", "--", "sh", "-c", body, status=5)
    assert {"done", "gone"} <= {*said.splitlines()}
    shown = [line.split("] ")[1].split("(")[0] for line in said.splitlines() if "] " in line]
    # The shell's own: the mkdir is another process's, which ends before the shell does.
    assert [text.split(" {")[0] for text in shown] == [
        *("getpid", "--- SIGCHLD", "+++ exited with 5 +++"),
    ]
    assert "interceptor" not in cli("ssh", "--", "cat", "/proc/modules")


def test_trace_shows_the_first_and_the_last_call(loaded: Cli, guest: Guest) -> None:
    loaded("intercept", "mkdir")
    said = loaded("trace", "brk,mkdir,exit_group", "--", "mkdir", "/tmp", status=1)
    calls = [line.split("] ")[1].split("(")[0] for line in said.splitlines() if "] " in line]
    assert calls[0] == "brk"  # the dynamic linker's first
    assert calls.count("mkdir") == 1
    assert calls[-2:] == ["exit_group", "+++ exited with 1 +++"]
    status = loaded("ssh", "--", "cat", "/proc/interceptor")
    assert status == f"{guest.syscalls.number('mkdir')} listed\n"
    loaded("release", "mkdir")


def test_trace_passes_streams_and_signals_through(loaded: Cli) -> None:
    said = loaded("trace", "mkdir", "--as", "nobody", "--", "sh", "-c", "id -un; cat", stdin="x\n")
    assert re.sub(r"\[\d+\] [-+]{3} .*\n", "", said) == "nobody\nx\n"
    loaded("trace", "mkdir", "--", "sh", "-c", "kill -9 $$", status=128 + 9)
    assert "nosuch" in loaded("trace", "mkdir", "--", "nosuch", status=127)
    loaded("trace", "mkdir", "--", "sh", "-c", 'test "$1" = "$(printf "\\377")"', "sh", "\udcff")


LASTS = ("trace", "mkdir", "--", "sh", "-c", "mkdir /tmp 2>/dev/null; echo on; sleep 1000")


@pytest.mark.variants
@pytest.mark.parametrize("number", [*signals.SIGNALS])
def test_interrupted_trace_leaves_nothing(loaded: Cli, number: signal.Signals) -> None:
    process = loaded.start(*LASTS)
    assert process.stdout
    while process.stdout.readline() != "on\n":
        assert process.poll() is None
    process.send_signal(number)
    rest, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == 128 + number, rest
    assert rest.endswith(f"pyharness: {signals.SIGNALS[number]}\n")
    assert loaded("ssh", "--", "cat", "/proc/interceptor") == ""
    assert "sleep 1000" not in loaded("ssh", "--", "ps", "-eo", "args")


@pytest.mark.variants
@pytest.mark.parametrize("end", ["terminal", "pipe"])
def test_trace_whose_output_is_gone_leaves_nothing(cli: Cli, end: str) -> None:
    """A terminal that is closed sends SIGHUP, a pipe just breaks; nothing more can be written."""
    lasts = ("trace", "write", "--", "sh", "-c", "while echo on; do sleep 0.1; done")
    status = cli.until_gone(end, b"write(", *lasts)
    assert status == 128 + (signal.SIGHUP if end == "terminal" else signal.SIGPIPE)
    assert "interceptor" not in cli("ssh", "--", "cat", "/proc/modules")
    assert "echo on" not in cli("ssh", "--", "ps", "-eo", "args")


def test_a_trace_that_is_killed_restores_the_module(loaded: Cli) -> None:
    """The program that reads the events in the guest sees that nobody reads what it writes."""
    process = loaded.start(*LASTS)
    assert process.stdout
    while process.stdout.readline() != "on\n":
        assert process.poll() is None
    tracing = "/sys/kernel/tracing"
    log = "/sys/module/interceptor/parameters/log"
    state = f"cat {log}; ls {tracing}/instances; cat {tracing}/kprobe_events"
    during = r"event\npyharness-(\d+)-printk\np:pyharness_\1_printk/thread_end .*\n"
    assert re.fullmatch(during, loaded("ssh", "--", state))
    process.kill()
    process.communicate()
    while loaded("ssh", "--", state) != "printk\n":
        pass


def test_trace_counts_calls_and_writes_a_file(loaded: Cli, tmp_path: Path) -> None:
    """Options end where the command begins: its -c is not that of trace."""
    file = tmp_path / "new" / "trace.json"
    said = loaded(
        *("trace", "-cf", f"--perfetto={file}", "mkdir,exit_group"),
        *("sh", "-c", "mkdir /tmp /tmp/new; rmdir /tmp/new; exit 3"),
        status=3,
    )
    rows = {line.split()[-1]: line.split()[3:-1] for line in said.splitlines()[1:] if "." in line}
    assert rows["mkdir"] == ["2", "1"]
    assert rows["exit_group"] == ["3"]
    assert rows["total"] == ["5", "1"]
    assert "mkdir(" not in said
    assert "+++" not in said
    events = json.loads(file.read_text())["traceEvents"]
    slices = [e for e in events if e["ph"] == "X"]
    assert sorted(e["name"] for e in slices) == ["exit_group"] * 3 + ["mkdir"] * 2
    assert {e["args"]["result"] for e in slices} == {"0", "-1 EEXIST", "?"}
    ends = [e["name"] for e in events if e.get("cat") == "exit"]
    assert ends == ["exited with 1", "exited with 0", "exited with 3"]


def test_trace_whose_output_is_closed_early_counts_all_the_same(
    loaded: Cli, tmp_path: Path
) -> None:
    file = tmp_path / "trace.json"
    line = [*loaded.line, "trace", "-c", f"--perfetto={file}", "write", "--", "yes"]
    with subprocess.Popen(
        line, env=loaded.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        assert process.stderr
        assert process.stdout.readline() == "y\n"
        process.stdout.close()
        said = process.stderr.read()
        assert process.wait(SECONDS) == 128 + signal.SIGPIPE
    assert "total" in said
    assert "write" in file.read_text()


def test_trace_prints_times(loaded: Cli) -> None:
    said = loaded("trace", "-T", "-tt", "mkdir", "mkdir", "/tmp", status=1)
    form = r"\d\d:\d\d:\d\d\.\d{6} \[\d+\] mkdir\(.*\) = -1 EEXIST <\d+\.\d{6}>"
    assert any(re.fullmatch(form, line) for line in said.splitlines()), said


def test_trace_prints_arguments_or_registers(loaded: Cli) -> None:
    for options, arguments in (((), "0777"), (("--raw",), "0x1ff(, 0x[0-9a-f]+){4}")):
        said = loaded("trace", *options, "mkdir", "mkdir", "/tmp", status=1)
        form = rf"\[\d+\] mkdir\(0x[0-9a-f]+, {arguments}\) = -1 EEXIST"
        assert any(re.fullmatch(form, line) for line in said.splitlines()), said


def test_trace_checks_its_file_before_the_command_starts(cli: Cli, tmp_path: Path) -> None:
    said = cli("trace", "--perfetto", str(tmp_path), "mkdir", "--", "echo", "on", status=2)
    assert said == f"pyharness: --perfetto: {tmp_path} is a folder: name a file\n"


@pytest.mark.parametrize("channel", ["printk", "event", "ring"])
def test_log_follows(loaded: Cli, guest: Guest, channel: str) -> None:
    loaded("ssh", "--", f"echo {channel} > {CHANNEL}")
    loaded("intercept", "mkdir")
    loaded("start", "mkdir", "0")
    process = loaded.start("log", "--follow", "--json")
    assert process.stdout
    call = {"syscall": ""}
    while call["syscall"] != "mkdir":
        assert process.poll() is None
        if select.select([process.stdout], [], [], 0.1)[0]:
            call = json.loads(process.stdout.readline())
        else:
            loaded("ssh", "--", "mkdir", "/tmp", status=1)
    assert (call["abi"], len(call["args"])) == (guest.syscalls.architecture, 6)
    assert ("sequence" in call) == (channel == "printk")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=SECONDS)
    assert process.returncode == 130
    loaded("release", "mkdir")
    loaded("unload")  # nothing keeps it
    assert loaded("ssh", "--", f"ls {INSTANCES}") == ""
    loaded("load")


def test_log_of_a_module_that_records_elsewhere(loaded: Cli) -> None:
    assert "log=" not in loaded("log")
    for channel, is_said in (("ring", True), ("both", False), ("printk", False)):
        loaded("ssh", "--", f"echo {channel} > {CHANNEL}")
        assert (
            f"log={channel}, so that calls are not in the kernel log" in loaded("log")
        ) == is_said


def test_log_reports_what_the_kernel_has_overwritten(loaded: Cli) -> None:
    line = f"<7>line %g {'x' * 900}"  # long, as the log holds 8 MiB; <7> is not for the console
    flood = f"sysctl -qw kernel.printk_devkmsg=on && stdbuf -oL seq -f '{line}' 20000 > /dev/kmsg"
    loaded("ssh", "--", f"{flood} && sysctl -qw kernel.printk_devkmsg=ratelimit")
    missing = re.search(r"the kernel overwrote the first (\d+) records of its log", loaded("log"))
    first = loaded("ssh", "--", "dd if=/dev/kmsg bs=8192 count=1 status=none").split(",")[1]
    assert missing
    assert 10000 < int(missing[1]) <= int(first)


def test_a_guest_that_panics_ends_the_trace(cli: Cli, tmp_path: Path) -> None:
    """With the kernel's report, and with what was seen before."""
    file = tmp_path / "trace.json"
    body = "ls / > /dev/null; echo on; sleep 1; echo c > /proc/sysrq-trigger; sleep 1000"
    line = ("trace", "-cf", f"--perfetto={file}", "execve,write", "--", "sh", "-c", body)
    said = cli(*line, status=4)
    assert "panicked" in said
    assert "sysrq: Trigger a crash" in said or "Kernel panic - not syncing" in said
    rows = [line.split() for line in said.splitlines()]
    assert ["2", "execve"] in [row[-2:] for row in rows]
    slices = [e for e in json.loads(file.read_text())["traceEvents"] if e["ph"] == "X"]
    assert {e["name"] for e in slices} == {"execve", "write"}
    cli("reset")
