# SPDX-License-Identifier: GPL-2.0
"""By hand, in the guest: make's targets, modprobe, and interceptorctl as a person types it."""

import json
from collections.abc import Iterator

import pytest

import pyharness
from pyharness import Guest, Module


@pytest.fixture
def installed(bare_guest: Guest, by_hand: str) -> Iterator[Guest]:
    """A guest in which the module is installed."""
    bare_guest.run(f"make -C {by_hand} install", seconds=120).check()
    yield bare_guest
    if not bare_guest.closed:
        bare_guest.run(f"make -C {by_hand} uninstall").check()
        left = bare_guest.run("find / -xdev -name 'interceptor*' -not -path '/root/*'")
        assert left.stdout == ""


def test_make_load_and_unload(bare_guest: Guest, by_hand: str) -> None:
    way = bare_guest.frozen.spec.way
    bare_guest.run(f"make -C {by_hand} load ARGS=way={way}", seconds=120).check()
    assert bare_guest.is_loaded("interceptor")
    assert bare_guest.run("cat /sys/module/interceptor/parameters/way").stdout == f"{way}\n"
    bare_guest.run(f"make -C {by_hand} unload").check()
    assert not bare_guest.is_loaded("interceptor")


def test_installed(installed: Guest) -> None:
    """It is loaded by name, with the options that modprobe.d has; its tools are in the path."""
    assert "/lib/modules/" in installed.run("modinfo -n interceptor").check().stdout
    installed.run("echo options interceptor way=handler >> /etc/modprobe.d/interceptor.conf")
    installed.run("modprobe interceptor").check()
    assert installed.run("cat /sys/module/interceptor/parameters/way").stdout == "handler\n"
    assert installed.run("interceptorctl status").check().stdout == "nothing is intercepted\n"
    installed.run("modprobe -r interceptor").check()
    manual = installed.run("cat /usr/local/share/man/man8/interceptorctl.8").check().stdout
    for command in ("intercept", "release", "start", "stop", "status", "watch", "names"):
        assert command in manual


def complete(guest: Guest, *words: str) -> list[str]:
    """What bash offers for the last word."""
    line = (
        ". /usr/local/share/bash-completion/completions/interceptorctl;"
        f" COMP_WORDS=(interceptorctl {' '.join(map(repr, words))}); COMP_CWORD={len(words)};"
        ' _interceptorctl; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    return guest.run(["bash", "-c", line]).check().stdout.split()


def test_completion(installed: Guest) -> None:
    assert complete(installed, "st") == ["start", "stop", "status"]
    assert "mkdirat" in complete(installed, "intercept", "mkd")
    assert complete(installed, "status", "--") == ["--help", "--json"]
    assert complete(installed, "start", "mkdirat", "al") == ["all"]
    assert "1" in complete(installed, "start", "mkdirat", "")


def test_a_session(by_hand: str, bare_guest: Guest, parameters: dict[str, str]) -> None:
    guest, ctl = bare_guest, f"python3 {by_hand}/interceptorctl.py"
    number = guest.syscalls.number("mkdirat")
    told = guest.run(f"{ctl} intercept mkdirat")
    assert (told.status, "modprobe interceptor" in told.stderr) == (3, True)
    module = guest.load(pyharness.MODULE, **parameters)
    try:
        assert guest.run(f"{ctl} intercept mkdirat").check().stdout == "mkdirat: intercepted\n"
        watcher = guest.ssh.open(f"exec {ctl} watch mkdirat")
        actor = guest.actor("nobody")
        started = guest.run(f"{ctl} start mkdirat {actor.pid}").check().stdout
        assert started == f"mkdirat by process {actor.pid}: monitored\n"
        status = json.loads(guest.run(f"{ctl} status --json").check().stdout)
        assert status == [
            {"number": str(number), "name": "mkdirat", "mode": "listed", "pids": [actor.pid]}
        ]
        line = guest.run(f"{ctl} status").check().stdout.split()
        assert line == [str(number), "mkdirat", "listed", str(actor.pid)]
        seen = ""
        while f"[{actor.pid}] mkdirat(" not in seen:  # it may not have begun to look yet
            actor.syscall("mkdirat", -100, "/tmp", 0o755)
            watcher.settimeout(guest.limit(10))
            seen += watcher.recv(4096).decode() if watcher.recv_ready() else ""
        watcher.close()
        guest.run(f"{ctl} stop mkdirat {actor.pid}").check()
        guest.run(f"{ctl} start mkdirat all").check()
        guest.run(f"{ctl} release mkdirat").check()
        assert module.status() == {}
    finally:
        module.unload()


@pytest.mark.parametrize(
    ("words", "user", "status", "told"),
    [
        ("intercept mkdirat", "nobody", 1, "only root may intercept: sudo"),
        ("release mkdirat", "root", 1, "mkdirat is not intercepted"),
        ("intercept getsid", "root", 1, "getsid is intercepted already"),
        ("start mkdirat 1", "root", 1, "sudo interceptorctl intercept mkdirat"),
        ("start getsid 1", "nobody", 1, "process 1 is not yours to monitor"),
        ("start getsid 4194303", "root", 1, "there is no process 4194303"),
        ("stop getsid all", "root", 1, "getsid by everybody is not monitored"),
        ("status", "nobody", 1, "only root sees who is monitored"),
        ("start getsid me", "root", 2, "'me' is neither the number of a process nor 'all'"),
        ("intercept nosuch", "root", 2, "there is no system call 'nosuch'"),
        ("intercept", "root", 2, "the following arguments are required: CALL"),
        ("nosuch", "root", 2, "invalid choice: 'nosuch'"),
    ],
)
def test_what_is_refused_is_told_in_one_sentence(
    module: Module, guest: Guest, *, words: str, user: str, status: int, told: str
) -> None:
    source = (pyharness.MODULE / "interceptorctl.py").read_bytes()
    with module.intercepted("getsid"):
        done = guest.run(f"python3 - {words}", user=user, stdin=source)
    assert done.status == status, done.stderr
    assert told in done.stderr
    assert "Traceback" not in done.stderr
