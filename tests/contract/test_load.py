# SPDX-License-Identifier: GPL-2.0
"""What can't work is refused at load, in one clear line, with nothing changed."""

import errno
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from arch import AT_FDCWD, TRACING, handler_prefix, hooked, hooked_by, logged, mount_tracing

from pyharness import Guest, ModuleRefused, UsageError, interceptor
from pyharness.guest.build import Built
from pyharness.interceptor import MODULE, Command, Interceptor
from pyharness.interceptor.interface import Interface
from pyharness.linux import kernel_release

BrokenModule = Callable[[str, str, str], Path]
TRACED = ("getpgid", "restart_syscall", "exit_group")


def runs_sparse(guest: Guest) -> bool:
    """Whether kbuild checks a module there.

    From 7.0 on (commit fd69b2f7d5f4) it first has a script find out whether sparse knows
    __typeof_unqual__; Debian's headers lack the script, and its sparse 0.6.4 does not.
    """
    if kernel_release.matches(guest.facts.release, ["<7"]):
        return True
    script = "/usr/src/linux-headers-*-common*/scripts/checker-valid.sh"
    return guest.run(f"{script} sparse").stdout.strip() == "1"


def untouched(guest: Guest) -> bool:
    """Whether nothing in the guest tells that a module was tried."""
    calls = {function for function in hooked(guest) if "_sys_" in function}
    shown = guest.run("ls /proc | grep interceptor").stdout
    return not calls and not shown and not guest.is_loaded("interceptor")


def refusal(guest: Guest, built: Built, **parameters: str) -> str:
    """The line that the module logs when it refuses to be loaded, and the error's name."""
    mark = guest.log.mark()
    with pytest.raises(ModuleRefused) as caught:
        guest.load_ko(built.ko, **parameters)
    lines = [r.text for r in guest.log.since(mark) if r.text.startswith("interceptor: not")]
    assert len(lines) == 1
    assert untouched(guest)
    return f"{lines[0]} {caught.value}"


def test_parameters_that_it_has_not(bare_guest: Guest) -> None:
    """The kernel would ignore them, or say in two lines what is wrong."""
    built = bare_guest.build(MODULE)
    for parameters, message in (
        ({"nosuch": "1"}, "interceptor has no parameter 'nosuch': its parameters are "),
        ({"direct": "maybe"}, "'maybe' is not a value for the parameter direct, whose type is"),
    ):
        with pytest.raises(ModuleRefused, match=message) as caught:
            bare_guest.load_ko(built.ko, **parameters)
        assert "\n" not in str(caught.value)
        assert untouched(bare_guest)


def test_without_ftrace(bare_guest: Guest) -> None:
    """Which hooks handlers on x86, and nowhere else."""
    guest = bare_guest
    built = guest.build(MODULE)
    off = guest.run("echo 0 > /proc/sys/kernel/ftrace_enabled").status == 0
    # 7.3: "The ftrace_enabled file is deprecated and no longer disables ftrace".
    assert off == kernel_release.matches(guest.facts.release, ["<7.3"])
    try:
        if not off or guest.facts.architecture == "arm64":
            interceptor.load(guest, method="handler").unload()
            return
        said = refusal(guest, built, method="handler")
    finally:
        guest.run("sysctl kernel.ftrace_enabled=1").check()
    assert "No such device" in said
    assert "kernel.ftrace_enabled=1" in said


def test_handler_that_is_not_there(bare_guest: Guest, broken_module: BrokenModule) -> None:
    built = bare_guest.build(broken_module("abi.c", "ABI_PREFIX #name", '"__nosuch_" #name'))
    said = refusal(bare_guest, built)
    assert "__nosuch_sys_exit_group" in said
    # Some kernels know no names of errors.
    named = "SYMBOLIC_ERRNAME" in bare_guest.facts.kernel_options
    assert ("-ENOENT" if named else f"({-errno.ENOENT})") in said


def test_the_ftrace_sysctl_stays_1_while_loaded(module: Interceptor) -> None:
    """The hijack is there afterwards, whether that was refused or not."""
    guest = module.guest
    # sysctl of Debian 11 says so and returns 0.
    refused = guest.run("echo 0 > /proc/sys/kernel/ftrace_enabled").status != 0
    try:
        module.prove()
    finally:
        guest.run("sysctl kernel.ftrace_enabled=1").check()
    probed = hooked_by(guest) == "kprobe" and guest.facts.architecture != "arm64"
    assert refused == (probed or hooked_by(guest) == "ftrace direct call")


def test_a_hook_that_never_fires_is_found_out(
    bare_guest: Guest, broken_module: BrokenModule, parameters: dict[str, str]
) -> None:
    """It loads without a complaint, and is unloaded again."""
    folder = broken_module("interceptor.c", "&restart_syscall_action)", "&call_action)")
    with pytest.raises(ModuleRefused, match=r"hook on system call \d+ does not fire"):
        interceptor.load(bare_guest, folder, **parameters)
    assert untouched(bare_guest)


def test_an_exit_group_that_is_not_served_is_found_out(
    bare_guest: Guest, broken_module: BrokenModule, parameters: dict[str, str]
) -> None:
    calls = "	if (call_wanted(call))\n		before_call(regs, call);\n"
    folder = broken_module("interceptor.c", calls, "")
    with pytest.raises(ModuleRefused, match="exit_group call of a monitored process is not logged"):
        interceptor.load(bare_guest, folder, **parameters)
    assert untouched(bare_guest)


# Loading fails after its last step, and a while later.
LAST_STEP = "	err = start_up();\n"
TOO_EARLY = "bitmap_empty(intercepted, ABI_CALLS) ? -EBUSY : -EUCLEAN"  # was a command taken?
FAILS_LATE = (
    f"{LAST_STEP}	schedule_timeout_uninterruptible(HZ);\n	err = err ?: {TOO_EARLY};\n"
)


def test_a_load_that_fails_late_leaves_nothing(
    bare_guest: Guest, broken_module: BrokenModule, parameters: dict[str, str]
) -> None:
    """Though commands are issued all the time: it takes none, and is not freed under one."""
    guest = bare_guest
    built = guest.build(broken_module("interceptor.c", LAST_STEP, FAILS_LATE))
    interface = Interface.load(MODULE, guest.syscalls)
    intercept = interface.commands[Command.INTERCEPT]
    number = guest.syscalls.number("mkdirat")
    callers = [guest.root.fork() for _ in range(guest.facts.cpus)]
    for caller in callers:
        caller.begin(interface.custom_syscall, intercept, number, 0, repeat=10**9)
    for _ in range(3):
        mark = guest.log.mark()
        with pytest.raises(ModuleRefused, match="resource busy"):
            guest.load_ko(built.ko, **parameters)
        assert untouched(guest)
        actor = guest.actor("nobody")
        assert actor.syscall("mkdirat", AT_FDCWD, "/tmp", 0).errno == errno.EEXIST
        assert logged(guest, mark) == []
    for caller in callers:
        caller.kill(signal.SIGKILL)


def test_loading_twice_is_refused(module: Interceptor) -> None:
    with pytest.raises(UsageError, match="loaded already"):
        interceptor.load(module.guest)
    with pytest.raises(UsageError, match="loaded already"):  # by another command, just now
        module.guest.load_ko(module.guest.modules[module.name])
    assert module.guest.is_loaded(module.name)


@pytest.mark.parametrize("user", ["root", "nobody"])
def test_by_kprobes_it_does_the_same(bare_guest: Guest, user: str) -> None:
    """Where the kernel has no direct calls, or they are taken."""
    module = interceptor.load(bare_guest, method="handler", direct=0)
    try:
        actor = bare_guest.actor(user)
        with module.intercepted("getpgid"):
            assert module.start("getpgid", actor.pid, by=actor).value == 0
            mark = bare_guest.log.mark()
            assert actor.syscall("getpgid", actor.pid).errno == 0
            assert [call.pid for call in module.logged(mark)] == [actor.pid]
            actor.exit()
            assert module.status()[module.guest.syscalls.ref("getpgid")].pids == frozenset()
    finally:
        module.unload()
    assert untouched(bare_guest)


def test_modinfo_and_build_are_clean(bare_guest: Guest) -> None:
    """W=1 and C=1 without a warning; modinfo shows all that it should."""
    built = bare_guest.build(MODULE)
    assert ("CHECK" in built.log) == runs_sparse(bare_guest)
    assert built.warnings == []
    module = bare_guest.inspect(built.ko)
    for field in ("description", "author", "license", "version", "parm"):
        assert module.get(field), field
    assert module.has_lines


@pytest.mark.parametrize("tracer", ["function", "function_graph"])
def test_function_tracer_beside_it(module: Interceptor, tracer: str) -> None:
    """Somebody else's ftrace on the same functions neither stops the hijack nor is stopped."""
    guest = module.guest
    prefix = handler_prefix(guest)
    mount_tracing(guest)
    actor = guest.actor("nobody")
    with module.intercepted("getpgid"):
        handlers = " ".join(f"{prefix}{call}" for call in TRACED)
        guest.run(
            f"cd {TRACING} && for name in {handlers} __do_sys_restart_syscall;"
            " do echo $name >> set_ftrace_filter; done 2>/dev/null;"
            f" grep -q sys_ set_ftrace_filter && echo {tracer} > current_tracer"
        ).check()
        try:
            assert module.start("getpgid", actor.pid, by=actor).value == 0
            mark = guest.log.mark()
            assert actor.syscall("getpgid", actor.pid).errno == 0
            assert [call.pid for call in module.logged(mark)] == [actor.pid]
            actor.exit()
            assert module.status()[guest.syscalls.ref("getpgid")].pids == frozenset()
            seen = guest.run(f"cat {TRACING}/trace").check().stdout
        finally:
            guest.run(f"cd {TRACING} && echo nop > current_tracer && echo > set_ftrace_filter")
    assert f"{prefix}getpgid" in seen
