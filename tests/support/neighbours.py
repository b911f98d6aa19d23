# SPDX-License-Identifier: GPL-2.0
"""Others who look at a system call as the interceptor does, each of whom comes, sees it and goes.

Each looks at CALL by an actor, a process of its own. Those that hook functions of
the kernel also hook the two that the interceptor can't be loaded without.
"""

import signal
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from arch import TRACING, first_of, handler_prefix, longs, mount_tracing

from pyharness import CheckFailed, Guest

CALL = "getsid"
HOOKED = (CALL, "exit_group", "restart_syscall")
MODULES = Path(__file__).parents[1] / "modules"

Compiled = Callable[..., str]


class Neighbour:
    """One that sees nothing: what others have in common.

    Attributes:
        second_to_kprobes: it can come after a kprobe of somebody else's.
        second_to_direct: it can come after a direct call of ftrace's. A function
            has one at most.
    """

    second_to_kprobes = True
    second_to_direct = True
    user = "nobody"

    def __init__(self, guest: Guest, compiled: Compiled) -> None:
        self.guest = guest
        self.compiled = compiled
        self.actor = guest.actor(self.user)

    @property
    def handlers(self) -> list[str]:
        """The functions that serve HOOKED."""
        return [handler_prefix(self.guest) + call for call in HOOKED]

    def start(self) -> None:
        """Come."""

    def stop(self) -> None:
        """Go."""

    def call(self) -> int:
        """Have the actor issue CALL; its result."""
        result = self.actor.syscall(CALL, 0)
        assert result.errno == 0
        return result.value

    def seen(self) -> int:
        """How many calls it has seen in all."""
        raise NotImplementedError


FILTER = """
for call in {calls}; do
    for prefix in {prefix} __do_sys_; do
        echo $prefix$call >> set_ftrace_filter || :
    done 2> /dev/null
    grep -q "_sys_$call$" set_ftrace_filter || exit 1
done
echo {tracer} > current_tracer
"""
UNFILTER = "echo nop > current_tracer && echo > set_ftrace_filter"
PROBE = """
for handler in {handlers}; do echo "{kind}:neighbours/$handler $handler" >> {events}; done
echo 1 > events/neighbours/enable
"""
# An fprobe is known by the name that ftrace has, of those that share an address.
FPROBE = """
for call in {calls}; do
    echo "f:neighbours/sys_$call {prefix}$call" >> dynamic_events ||
        echo "f:neighbours/sys_$call __do_sys_$call" >> dynamic_events
done 2> /dev/null
echo 1 > events/neighbours/enable
"""
UNPROBE = "echo 0 > events/neighbours/enable && echo > {events}"


@dataclass(frozen=True)
class Tracing:
    """One that needs no more than tracefs.

    Attributes:
        begin: what the shell does there for it to come.
        end: for it to go.
        lines: in the trace for each call.
    """

    begin: str
    end: str
    lines: int = 1

    def __call__(self, guest: Guest, compiled: Compiled) -> Neighbour:
        """Make one in a guest."""
        return Tracer(self, guest, compiled)


class Tracer(Neighbour):
    """What tracefs offers."""

    def __init__(self, tracing: Tracing, guest: Guest, compiled: Compiled) -> None:
        super().__init__(guest, compiled)
        self.tracing = tracing
        self.counted = 0
        mount_tracing(guest)
        guest.run(f"echo > {TRACING}/trace").check()

    def _carry_out(self, text: str) -> None:
        words = {
            "calls": " ".join(HOOKED),
            "prefix": handler_prefix(self.guest),
            "handlers": " ".join(self.handlers),
            "handler": self.handlers[0],
        }
        for name, value in words.items():
            text = text.replace(f"{{{name}}}", value)
        self.guest.run(f"set -e; cd {TRACING}; {text}").check()

    def start(self) -> None:
        self._carry_out(self.tracing.begin)

    def stop(self) -> None:
        self._carry_out(self.tracing.end)

    def seen(self) -> int:
        said = self.guest.run(f"cat {TRACING}/trace && echo > {TRACING}/trace").check().stdout
        lines = [line for line in said.splitlines() if not line.startswith("#")]
        self.counted += sum(f"sys_{CALL}" in line for line in lines)
        return self.counted // self.tracing.lines


def tracer(name: str) -> Tracing:
    return Tracing(FILTER.replace("{tracer}", name), UNFILTER)


def both(first: Tracing, second: Tracing) -> Tracing:
    return Tracing(f"{first.begin}\n{second.begin}", f"{second.end}\n{first.end}", 2)


def event(kind: str, events: str) -> Tracing:
    begin, end = (text.replace("{events}", events) for text in (PROBE, UNPROBE))
    return Tracing(begin.replace("{kind}", kind), end)


def switched(name: str) -> Tracing:
    return Tracing(f"echo 1 > events/{name}/enable", f"echo 0 > events/{name}/enable")


class PostProbe(Neighbour):
    """Somebody's module, whose kprobes have post handlers.

    The kernel itself (6.1, 6.12) can't have such a kprobe come after another one
    without, whoever's that is: it warns in __disarm_kprobe_ftrace() when they go.
    """

    second_to_kprobes = False

    def start(self) -> None:
        functions = ",".join(self.handlers)
        self.guest.load_ko(self.guest.build(MODULES / "postprobe").ko, functions=functions)

    def stop(self) -> None:
        self.guest.run(["rmmod", "postprobe"]).check()

    def seen(self) -> int:
        both = self.guest.run("cd /sys/module/postprobe/parameters && cat before after").check()
        before, after = both.stdout.split()
        assert before == after
        return int(before)


class LivePatch(Neighbour):
    """Somebody's module, which does what the call does."""

    def start(self) -> None:
        self.guest.load_ko(self.guest.build(MODULES / "patched").ko)
        self._settle()

    def _settle(self) -> None:
        """Until no process runs, or sleeps in, what it replaces."""
        path = "/sys/kernel/livepatch/patched/transition"
        over = f"[ ! -e {path} ] || grep -q 0 {path}"
        self.guest.wait("the live patch", lambda: not self.guest.run(over).status, seconds=30)

    def stop(self) -> None:
        self.guest.run("echo 0 > /sys/kernel/livepatch/patched/enabled").check()
        self._settle()
        self.guest.wait("its end", lambda: not self.guest.run(["rmmod", "patched"]).status)

    def seen(self) -> int:
        return int(self.guest.run("cat /sys/module/patched/parameters/seen").check().stdout)


class Program(Neighbour):
    """One that is a program of its own, and prints a line with the call's name for each."""

    def __init__(self, command: str, guest: Guest, compiled: Compiled) -> None:
        super().__init__(guest, compiled)
        self.command = command.replace("PID", str(self.actor.pid))
        self.command = self.command.replace("HANDLER", self.handlers[0])
        self.file = f"/tmp/seen-{self.actor.pid}"
        guest.run(["touch", self.file]).check()

    def start(self) -> None:
        """Once it sees calls, and says nothing more when there are none."""
        self.program = self.guest.actor()
        self.program.execute("/bin/sh", "-c", f"exec {self.command} >> {self.file} 2>&1")
        before = self.seen()

        def sees() -> bool:
            self.call()
            self.guest.run(["sleep", "0.5"])
            return self.seen() > before

        self.guest.wait("the program to see a call", sees, seconds=60)
        self.guest.wait("the last of its lines", self._is_quiet, seconds=30)

    def _is_quiet(self) -> bool:
        """Whether it prints nothing for a second: it prints what it saw up to that late."""
        before = self.seen()
        self.guest.run(["sleep", "1"])
        return self.seen() == before

    def is_refused(self) -> bool:
        """Whether the kernel does not let it come: it ends, and says that it can't attach."""
        self.program = self.guest.actor()
        said = f"{self.file}.refused"
        self.program.execute("/bin/sh", "-c", f"exec {self.command} > {said} 2>&1")
        return self.program.reap() != 0 and "Error attaching" in self.guest.agent.read(said)

    def stop(self) -> None:
        """By as many signals as it needs: bpftrace 0.17 misses one that comes while it prints."""
        self.guest.wait("the program to end", self._ends_soon, seconds=30)
        self.program.reap()

    def _ends_soon(self) -> bool:
        self.program.kill(signal.SIGINT)
        with suppress(CheckFailed):
            self.guest.wait("its end", self._has_ended, seconds=1)
        return self._has_ended()

    def _has_ended(self) -> bool:
        return self.guest.agent.state(self.program.pid) == "Z"

    def seen(self) -> int:
        return self.guest.agent.read(self.file).count(f"{CALL}(")


class Fentry(Program):
    """A BPF program that is called by the handler itself."""

    second_to_direct = False

    def __init__(self, guest: Guest, compiled: Compiled) -> None:
        super().__init__(bpftrace_line("kfunc:HANDLER"), guest, compiled)


def program(command: str) -> Callable[[Guest, Compiled], Neighbour]:
    return lambda guest, compiled: Program(command, guest, compiled)


def bpftrace_line(probe: str) -> str:
    """The command that prints a line for each call of the actor's."""
    return f"bpftrace -B line -e '{probe} /pid == PID/ {{ printf(\"{CALL}()\\n\"); }}'"


def bpftrace(probe: str) -> Callable[[Guest, Compiled], Neighbour]:
    return program(bpftrace_line(probe))


RULE = "always,exit -F arch=b64 -S {call} -F pid={pid}"


class Audit(Neighbour):
    """A rule of the kernel's audit, whose daemon writes a record for each call."""

    def _rule(self, do: str) -> None:
        rule = RULE.format(call=CALL, pid=self.actor.pid)
        self.guest.run(f"auditctl {do} {rule}").check()

    def start(self) -> None:
        self._rule("-a")

    def stop(self) -> None:
        self._rule("-d")

    def seen(self) -> int:
        found = (
            rf"type=SYSCALL .*syscall={self.guest.syscalls.number(CALL)} .* pid={self.actor.pid} "
        )
        return int(self.guest.run(f"grep -c '{found}' /var/log/audit/audit.log").stdout)


FROM, MARK = "getpgid", 0x12345678


class Ptrace(Neighbour):
    """One that attaches to the actor, and makes CALL of what it issues."""

    how = "ptrace"

    def start(self) -> None:
        status, seen = f"/proc/{self.actor.pid}/status", self._seen
        numbers = [str(self.guest.syscalls.number(call)) for call in (FROM, CALL)]
        self.tracer = self.guest.actor()
        program = self.compiled("tracer")
        self.tracer.execute(program, str(self.actor.pid), self.how, *numbers, seen)
        attached = f"TracerPid:\t{self.tracer.pid}\n"
        self.guest.wait("the tracer", lambda: attached in self.guest.agent.read(status))

    @property
    def _seen(self) -> str:
        return f"/tmp/tracer-{self.actor.pid}"

    def stop(self) -> None:
        self.tracer.kill(signal.SIGKILL)
        self.tracer.reap()

    def call(self) -> int:
        """If it is there, what it makes of another call."""
        status = self.guest.agent.read(f"/proc/{self.actor.pid}/status")
        if "TracerPid:\t0\n" in status:
            return super().call()
        result = self.actor.syscall(FROM, MARK)
        assert result.errno == 0
        return result.value

    def seen(self) -> int:
        done = self.guest.run(["cat", self._seen])
        return len(done.stdout)


PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, FILTERS = 22, 38, 2
RET_TRACE, RET_ALLOW = 0x7FF00000, 0x7FFF0000
LOAD_NUMBER, UNLESS_EQUAL, RETURN = 0x20, 0x15, 0x06


class Seccomp(Ptrace):
    """The same, by a seccomp filter of the actor."""

    how = "seccomp"

    def __init__(self, guest: Guest, compiled: Compiled) -> None:
        super().__init__(guest, compiled)
        number = guest.syscalls.number(FROM)
        code = (
            (LOAD_NUMBER, 0, 0, 0), (UNLESS_EQUAL, 0, 1, number),
            (RETURN, 0, 0, RET_TRACE), (RETURN, 0, 0, RET_ALLOW),
        )  # fmt: skip
        data = b"".join(struct.pack("<HBBI", *instruction) for instruction in code)
        where = self.actor.syscall(first_of(guest, "mmap2", "mmap"), 0, 4096, 3, 0x22, -1, 0).value
        where %= 1 << 8 * guest.syscalls.bytes_of_long
        self.actor.write_memory(where, data)
        assert self.actor.syscall("prctl", PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0).errno == 0
        program = longs(guest, len(code), where)
        assert self.actor.syscall("prctl", PR_SET_SECCOMP, FILTERS, program).errno == 0


class Dispatch(Neighbour):
    """A process that gets its own calls first, and passes them on."""

    user = "root"

    def __init__(self, guest: Guest, compiled: Compiled) -> None:
        super().__init__(guest, compiled)
        self.files = [f"/tmp/{name}-{self.actor.pid}" for name in ("orders", "answers")]
        orders, answers = self.files
        program = compiled("dispatch")
        guest.run(f"mkfifo -m 666 {orders} && install -m 666 /dev/null {answers}").check()
        self.actor.execute(program, *self.files)
        self.answers = 0

    def _order(self, order: str) -> tuple[int, int]:
        self.guest.run(f"printf {order} > {self.files[0]}").check()
        self.answers += 1

        def lines() -> list[str]:
            return self.guest.agent.read(self.files[1]).splitlines()

        self.guest.wait("an answer", lambda: len(lines()) == self.answers)
        result, self.served = map(int, lines()[-1].split())
        return result, self.served

    def start(self) -> None:
        assert self._order("1")[0] == 0

    def stop(self) -> None:
        assert self._order("0")[0] == 0

    def call(self) -> int:
        return self._order("c")[0]

    def seen(self) -> int:
        return self.served


X86 = ("i386", "amd64")
NEIGHBOURS: dict[str, Callable[[Guest, Compiled], Neighbour]] = {
    "function tracer": tracer("function"),
    "function_graph": tracer("function_graph"),
    "kprobe event": event("p", "kprobe_events"),
    "kprobe event and function tracer": both(event("p", "kprobe_events"), tracer("function")),
    "kretprobe event": event("r", "kprobe_events"),
    "tracepoint": switched(f"syscalls/sys_enter_{CALL}"),
    "kprobe with a post handler": PostProbe,
    "ptrace": Ptrace,
    "seccomp": Seccomp,
    "user dispatch": Dispatch,
    "fprobe event": Tracing(FPROBE, UNPROBE.replace("{events}", "dynamic_events")),
    "live patch": LivePatch,
    "bpftrace tracepoint": bpftrace(f"tracepoint:syscalls:sys_enter_{CALL}"),
    "bpftrace kprobe": bpftrace("kprobe:HANDLER"),
    "bpftrace fentry": Fentry,
    "perf trace": program(f"perf trace -e {CALL} -p PID"),
    "trace-cmd": Tracing(
        f"trace-cmd start -p function -l {{handler}} -e syscalls:sys_enter_{CALL}",
        "trace-cmd reset",
        2,
    ),
    "audit rule": Audit,
}
TOOLS = ("bpftrace", "perf", "trace-cmd", "audit")
# Where those are that not every guest has.
ONLY = {
    "user dispatch": (pytest.mark.architecture(*X86), pytest.mark.kernel(">=5.11")),
    "fprobe event": (pytest.mark.architecture("amd64"), pytest.mark.kernel(">=6.12")),
    "live patch": (pytest.mark.architecture("amd64"),),
    **{name: (pytest.mark.tools,) for name in NEIGHBOURS if name.startswith(TOOLS)},
}
