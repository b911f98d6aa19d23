# SPDX-License-Identifier: GPL-2.0
"""By hand, in the guest: make's targets, modprobe, and interceptorctl as a person types it."""

import json
import re
from collections.abc import Iterator

import pytest
from arch import TRACING, mount_tracing, odd_tracing

from pyharness import Guest, interceptor
from pyharness.interceptor import MODULE, Interceptor

OPTIONS = "/etc/modprobe.d/interceptor.conf"
# What make and the kernel's build print on their errors' stream although all is well: that
# a clock was set back, and that type information can't be made without the kernel's own.
HARMLESS = re.compile(r"make.*(modification time|Clock skew)|Skipping BTF generation|$")


def files(guest: Guest) -> list[str]:
    """What of the module there is in the guest, outside of where it is built."""
    found = guest.run("find / -xdev -name 'interceptor*' -not -path '/root/*'").stdout.split()
    return sorted(re.sub("^/usr/lib/", "/lib/", path) for path in found)


@pytest.fixture
def installed(bare_guest: Guest, by_hand: str) -> Iterator[Guest]:
    """A guest in which the module is installed, by somebody who hides what they make."""
    done = bare_guest.run(f"umask 077 && make -C {by_hand} install", seconds=120).check()
    assert [line for line in done.stderr.splitlines() if not HARMLESS.match(line)] == []
    yield bare_guest
    if not bare_guest.closed:
        bare_guest.run(f"make -C {by_hand} uninstall && rm -f {OPTIONS}").check()
        assert files(bare_guest) == []


def refused(guest: Guest, command: str, *, user: str = "root") -> str:
    """The sentence with which make refuses to do something, before it has done anything."""
    done = guest.run(f"make {command}", user=user)
    assert done.status == 2
    assert done.stdout.count("\n") <= 2, done.stdout  # that it enters and leaves a folder
    (line,) = done.stderr.splitlines()
    return line


def test_make_load_and_unload(bare_guest: Guest, by_hand: str) -> None:
    method = bare_guest.qemu.saved_state.spec.dispatch
    bare_guest.run(f"make -C {by_hand} load ARGS=method={method}", seconds=120).check()
    assert bare_guest.is_loaded("interceptor")
    assert bare_guest.run("cat /sys/module/interceptor/parameters/method").stdout == f"{method}\n"
    again = refused(bare_guest, f"-C {by_hand} load")
    assert "interceptor is loaded already: make unload unloads it" in again
    bare_guest.run(f"make -C {by_hand} unload load", seconds=60).check()
    bare_guest.run(f"make -C {by_hand} unload").check()
    assert not bare_guest.is_loaded("interceptor")
    assert "interceptor is not loaded" in refused(bare_guest, f"-C {by_hand} unload")
    failed = bare_guest.run(f"make -C {by_hand} load ARGS=method=nosuch", seconds=60)
    assert failed.status == 2
    assert "dmesg | tail has the kernel's reason" in failed.stderr


def test_a_plain_user_gets_an_error_at_once(bare_guest: Guest, by_hand: str) -> None:
    """A plain user can't load or install, nor build where root has; nothing is built first."""
    guest, folder = bare_guest, "/tmp/by-hand"
    guest.run(f"mkdir {folder} && cd {by_hand} && cp Kbuild Makefile *.[ch] {folder}").check()
    try:
        assert "*** . is not yours to write" in refused(guest, f"-C {folder}", user="nobody")
        guest.run(f"chown nobody {folder} && touch {folder}/.interceptor.o.cmd").check()
        assert ".interceptor.o.cmd is not yours to write: sudo make clean" in refused(
            guest, f"-C {folder}", user="nobody"
        )
        for target in ("load", "unload", "install", "install-tools", "uninstall"):
            sentence = refused(guest, f"-C {folder} {target}", user="nobody")
            assert f"only root can do this: sudo make {target}" in sentence
    finally:
        guest.run(["rm", "-r", folder]).check()


def test_uninstall_removes_what_install_installed(installed: Guest, by_hand: str) -> None:
    """Copies of DKMS and of another kernel stay, and options that somebody edited."""
    release = installed.facts.release
    ours = installed.run("modinfo -n interceptor").check().stdout.strip()
    place, _, name = ours.rpartition("/")
    theirs = [
        f"/lib/modules/{release}/updates/dkms/{name}",
        f"/lib/modules/0.1/extra/local/{name}",
    ]
    for path in theirs:
        installed.run(f"install -D {ours} {path}").check()
    every = " ".join(f"{place}/interceptor.ko{end}" for end in ("", ".gz", ".xz", ".zst"))
    installed.run(f"touch {every} && echo '# mine' >> {OPTIONS}").check()
    sentence = refused(installed, f"-C {by_hand} install")
    assert f"{theirs[0]} is installed already" in sentence
    assert "remove it first, by dkms remove interceptor/1.0.0 --all" in sentence
    done = installed.run(f"make -C {by_hand} uninstall").check().stdout
    assert f"{OPTIONS} is kept, as it was edited" in done
    assert f"{theirs[0]} is kept, as make install did not put it there" in done
    assert files(installed) == sorted([OPTIONS, *theirs])
    assert installed.run(["test", "-e", place]).status == 1
    installed.run(f"rm -r /lib/modules/0.1 {theirs[0]} && depmod").check()


def test_installed_for_a_package(bare_guest: Guest, by_hand: str) -> None:
    """DESTDIR, also relative, PREFIX and INSTALL_MOD_DIR; a package has no lists of all modules."""
    guest, release = bare_guest, bare_guest.facts.release
    given = "DESTDIR='stage' PREFIX=/usr INSTALL_MOD_DIR=updates/us"
    guest.run(f"make -C {by_hand} install {given} KDIR=/lib/modules/{release}/build").check()
    found = guest.run(f"cd {by_hand}/stage && find . -type f | sort").stdout.split()
    assert [path.removesuffix(".xz") for path in found] == [  # as the kernel's own are
        "./etc/modprobe.d/interceptor.conf",
        f"./lib/modules/{release}/updates/us/interceptor.ko",
        "./usr/bin/interceptorctl",
        "./usr/share/bash-completion/completions/interceptorctl",
        "./usr/share/man/man8/interceptorctl.8",
    ]
    assert files(guest) == []
    guest.run(f"make -C {by_hand} uninstall {given}").check()
    assert guest.run(f"cd {by_hand} && find stage -type f && rm -r stage").check().stdout == ""


def test_installed(installed: Guest) -> None:
    """It is loaded by name, with the options that modprobe.d has; its tools are in the path."""
    release = installed.facts.release
    path = installed.run(["modinfo", "-n", "interceptor"], user="nobody").check().stdout
    assert f"/lib/modules/{release}/extra/local/interceptor.ko" in path
    installed.run(f"echo options interceptor method=handler >> {OPTIONS}")
    installed.run("modprobe interceptor").check()
    assert installed.run("cat /sys/module/interceptor/parameters/method").stdout == "handler\n"
    assert installed.run("interceptorctl status").check().stdout == "nothing is intercepted\n"
    installed.run("modprobe -r interceptor").check()
    # A plain user's PATH has no sbin on Debian.
    installed.run("PATH=/usr/local/bin:/usr/bin:/bin interceptorctl names", user="nobody").check()
    version = installed.run("interceptorctl --version").check().stdout
    assert version == f"interceptorctl {installed.run('modinfo -F version interceptor').stdout}"
    manual = installed.run(["man", "interceptorctl"], user="nobody").check().stdout
    for command in ("intercept", "release", "start", "stop", "status", "watch", "record", "names"):
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
    assert complete(installed, "--") == ["--help", "--version"]
    assert complete(installed, "status", "--") == ["--help", "--json"]
    assert complete(installed, "start", "mkdirat", "al") == ["all"]
    assert "1" in complete(installed, "start", "mkdirat", "")


def test_a_session(by_hand: str, bare_guest: Guest, parameters: dict[str, str]) -> None:
    guest, ctl = bare_guest, f"python3 {by_hand}/interceptorctl.py"
    number = guest.syscalls.number("mkdirat")
    done = guest.run(f"{ctl} intercept mkdirat")
    assert (done.status, "modprobe interceptor" in done.stderr) == (3, True)
    module = interceptor.load(guest, **parameters)
    try:
        assert guest.run(f"{ctl} intercept mkdirat").check().stdout == "mkdirat: intercepted\n"
        watcher = guest.ssh.open(f"exec {ctl} watch mkdirat")
        actor = guest.actor("nobody")
        started = guest.run(f"{ctl} start mkdirat {actor.pid}").check().stdout
        assert started == f"mkdirat by process {actor.pid}: monitored\n"
        status = json.loads(guest.run(f"{ctl} status --json").check().stdout)
        assert status == [
            {
                "number": str(number),
                "name": "mkdirat",
                "mode": "listed",
                "pids": [actor.pid],
                "off": False,
            }
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


@pytest.fixture
def odd_options(bare_guest: Guest) -> Iterator[None]:
    """Have tracefs with other options than it has by default."""
    with odd_tracing(bare_guest):
        yield


@pytest.mark.usefixtures("odd_options")
@pytest.mark.parametrize("channel", ["printk", "event", "ring"])
def test_watch_and_record(
    by_hand: str, bare_guest: Guest, parameters: dict[str, str], channel: str
) -> None:
    """Whatever the calls are recorded by; afterwards nothing is left enabled."""
    guest, ctl = bare_guest, f"python3 {by_hand}/interceptorctl.py"
    module = interceptor.load(guest, log=channel, **parameters)
    actor = guest.actor("nobody")
    call = f"[{actor.pid}] getpgid(0x0, 0x1, 0x2, 0x3, 0x4, 0x5)"
    try:
        guest.run("for file in watched recorded said; do : > /tmp/$file; done").check()
        guest.run(f"{ctl} intercept getpgid && {ctl} start getpgid {actor.pid}").check()
        guest.run(f"setsid {ctl} watch getpgid > /tmp/watched 2>&1 < /dev/null &").check()
        guest.run(f"setsid {ctl} record -o /tmp/recorded > /tmp/said 2>&1 < /dev/null &").check()

        def is_seen() -> bool:
            actor.syscall("getpgid", 0, 1, 2, 3, 4, 5)  # they may not have begun to look yet
            return call in guest.agent.read("/tmp/watched") and "getpgid" in guest.agent.read(
                "/tmp/recorded"
            )

        guest.wait("the call to be seen", is_seen)
        guest.run("pkill -TERM -f 'interceptorctl.py (watch|record)'").check()
        guest.wait("record to end", lambda: "lost" in guest.agent.read("/tmp/said"))
        recorded = [json.loads(line) for line in guest.agent.read("/tmp/recorded").splitlines()]
        assert (recorded[-1]["pid"], recorded[-1]["syscall"]) == (actor.pid, "getpgid")
        assert recorded[-1]["args"] == [0, 1, 2, 3, 4, 5]
        assert f"{len(recorded)} calls, 0 lost" in guest.agent.read("/tmp/said")
        guest.wait(
            "both to remove what they made",
            lambda: guest.run(f"ls {TRACING}/instances").check().stdout == "",
        )
    finally:
        module.unload()


@pytest.mark.parametrize("channel", ["printk", "event", "ring"])
def test_record_leaves_its_own_calls_out(
    by_hand: str, bare_guest: Guest, parameters: dict[str, str], channel: str
) -> None:
    """It writes for each call that it records, and would never come to an end."""
    guest, ctl = bare_guest, f"python3 {by_hand}/interceptorctl.py"
    mount_tracing(guest)
    others = [f"{TRACING}/instances/interceptorctl-{name}" for name in ("", "x")]
    guest.run(["mkdir", *others]).check()
    module = interceptor.load(guest, log=channel, **parameters)
    actor = guest.actor("nobody")
    try:
        guest.run(f"{ctl} intercept write && {ctl} start write all; : > /tmp/recorded").check()
        guest.run(f"setsid {ctl} record -o /tmp/recorded > /dev/null 2>&1 < /dev/null &").check()

        def is_seen() -> bool:
            actor.syscall("write", -1, 0, 0)
            return f'"pid": {actor.pid},' in guest.agent.read("/tmp/recorded")

        guest.wait("the call to be seen", is_seen)
        own = guest.run("pgrep -f 'interceptorctl.py record'").check().stdout.strip()
        guest.run(f"kill {own}").check()
        guest.wait("record to end", lambda: guest.run(["test", "-e", f"/proc/{own}"]).status != 0)
        assert f'"pid": {own},' not in guest.agent.read("/tmp/recorded")
    finally:
        guest.run(["rmdir", *others]).check()
        module.unload()


@pytest.mark.parametrize(
    ("loaded", "call", "status"), [(False, "getpgid", 3), (True, "nosuch", 2), (True, "mkdir", 1)]
)
def test_what_record_refuses_leaves_the_file_as_it_is(
    bare_guest: Guest, parameters: dict[str, str], *, loaded: bool, call: str, status: int
) -> None:
    guest, source = bare_guest, (MODULE / "interceptorctl.py").read_bytes()
    module = interceptor.load(guest, log="event", **parameters) if loaded else None
    path = guest.run("f=$(mktemp); echo kept > $f; echo $f", user="nobody").stdout.strip()
    done = guest.run(f"python3 - record -o {path} {call}", user="nobody", stdin=source)
    if module:
        module.unload()
    assert done.status == status, done.stderr
    assert done.stderr.startswith("interceptorctl: ")
    assert done.stderr.count("\n") == 1
    assert guest.agent.read(path) == "kept\n"


@pytest.mark.parametrize(
    ("words", "user", "status", "message"),
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
        ("start getsid 1 me", "root", 2, "'me' is neither the number of a process nor 'all'"),
        ("start getsid 4294967297", "root", 2, "'4294967297' is neither the number of a process"),
        ("intercept nosuch", "root", 2, "there is no system call 'nosuch'"),
        ("intercept mkdirat nosuch", "root", 2, "there is no system call 'nosuch'"),
        ("intercept 4294967335", "root", 2, "there is no system call '4294967335'"),
        ("intercept", "root", 2, "the following arguments are required: CALL"),
        ("nosuch", "root", 2, "invalid choice: 'nosuch'"),
    ],
)
def test_what_is_refused_is_one_sentence(
    module: Interceptor, guest: Guest, *, words: str, user: str, status: int, message: str
) -> None:
    source = (MODULE / "interceptorctl.py").read_bytes()
    with module.intercepted("getsid"):
        before = module.status()
        done = guest.run(f"python3 - {words}", user=user, stdin=source)
        assert module.status() == before
    assert done.status == status, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
