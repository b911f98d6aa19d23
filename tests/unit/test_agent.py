# SPDX-License-Identifier: GPL-2.0
"""The agent, which runs in guests, starts and ends actors; run on this host, it needs no guest."""

import json
import os
import pwd
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pyharness.host import bundled
from pyharness.linux.syscalls import Syscalls

# The agent as it is, apart from what root alone may do: become another user, read the kernel log.
START = """
import os, runpy, sys
sys.path.insert(0, sys.argv[1])
os.initgroups = os.setgid = os.setuid = lambda *_: None
really_open = os.open
os.open = lambda path, flags: really_open(os.devnull if path == "/dev/kmsg" else path, flags)
agent = runpy.run_path(sys.argv[2], run_name="agent")
agent["Agent"]().run()
"""
SECONDS = 20.0
NATIVE = Syscalls({"x86_64": "x86_64", "aarch64": "arm64"}.get(os.uname().machine, "i386"))


class Agent:
    """An agent on this host, which has answered its first request."""

    def __init__(self) -> None:
        words = [str(bundled.MODULE), str(bundled.IN_GUEST / "agent.py")]
        self.process = subprocess.Popen(
            [sys.executable, "-c", START, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self.last = 0
        self.ask("hello")

    def send(self, do: str, **arguments: Any) -> None:
        assert self.process.stdin
        self.last += 1
        request = {"id": self.last, "do": do, **arguments}
        self.process.stdin.write(json.dumps(request).encode() + b"\n")
        self.process.stdin.flush()

    def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        self.send(do, **arguments)
        assert self.process.stdout
        while line := self.process.stdout.readline():
            answer: dict[str, Any] = json.loads(line)
            if answer.get("id") == self.last:
                return answer
            assert answer.keys() == {"tick"}, "somebody else has answered"
        raise AssertionError("the agent has ended")

    def order(self, task: int, do: str, **arguments: Any) -> dict[str, Any]:
        message = {"do": do, **arguments}
        return self.ask("ask", task=task, message=message, seconds=SECONDS)

    def spawn(self) -> int:
        user = pwd.getpwuid(os.getuid()).pw_name
        task: int = self.ask("spawn", user=user, seconds=SECONDS)["task"]
        return task

    def born(self, task: int, do: str) -> int:
        child: int = self.order(task, do)["task"]
        assert "error" not in self.ask("meet", task=child, seconds=SECONDS)
        return child


@pytest.fixture
def agent() -> Iterator[Agent]:
    one = Agent()
    with one.process:
        yield one
        assert one.process.stdin
        one.process.stdin.close()


@pytest.mark.parametrize("via", [None, "fork", "thread"])
def test_a_program_of_an_actor_reads_no_requests(agent: Agent, via: str | None) -> None:
    """It gets an end of its input, though the host sends requests."""
    task = agent.spawn()
    actor = agent.born(task, via) if via else task
    agent.order(actor, "execute", argv=["/bin/cat"])
    for _ in range(20):
        assert agent.ask("hello")["pid"] == agent.process.pid
    if via == "fork":
        assert agent.order(task, "wait", pid=actor) == {"id": agent.last, "status": 0}
    else:
        assert agent.ask("reap", task=task, seconds=SECONDS)["status"] == 0


def test_an_actor_writes_no_answers(agent: Agent) -> None:
    actor = agent.spawn()
    fake = {"data": "e30K", "size": 3, "out": False}  # {} and the end of a line
    for stream in range(3):
        for call in ("write", "read"):
            number = NATIVE.number(call)
            answer = agent.order(actor, "syscall", number=number, args=[stream, fake, 3])
            assert answer["value"] == (3 if call == "write" else 0)


def begin(agent: Agent, actor: int, call: str) -> None:
    """Have an actor begin a system call, which it does not come back from."""
    order = {"do": "syscall", "number": NATIVE.number(call), "args": [0] * 5}
    assert "gone" not in agent.ask("send", task=actor, message=order)


def has_ended(pidfd: int) -> bool:
    return bool(select.select([pidfd], [], [], SECONDS)[0])


@pytest.mark.parametrize("how", ["input", "SIGTERM", "SIGHUP"])
def test_no_actor_outlives_the_agent(agent: Agent, how: str) -> None:
    """Whoever started it, and though it is in a system call, and its parent has ended."""
    parent = agent.spawn()
    child = agent.born(parent, "fork")
    orphan = agent.born(agent.born(parent, "fork"), "fork")
    actors = [os.pidfd_open(actor) for actor in (parent, child, orphan)]
    begin(agent, orphan, "ppoll")
    begin(agent, child, "ppoll")
    agent.order(parent, "exit_group", code=0)
    assert has_ended(actors[0])
    assert not select.select(actors[1:], [], [], 0)[0], "an actor has ended with its parent"
    if how == "input":
        assert agent.process.stdin
        agent.process.stdin.close()
    else:
        agent.process.send_signal(signal.Signals[how])
    assert all(map(has_ended, actors))
    for actor in actors:
        os.close(actor)


def test_an_actor_has_the_signals_of_any_process(agent: Agent) -> None:
    actor = agent.spawn()
    agent.ask("kill", task=actor, number=signal.SIGTERM)
    assert agent.ask("reap", task=actor, seconds=SECONDS)["status"] == signal.SIGTERM


def test_actors_that_have_ended_keep_no_descriptor(agent: Agent) -> None:
    def descriptors() -> int:
        return len([*Path(f"/proc/{agent.process.pid}/fd").iterdir()])

    actor = agent.spawn()
    before = descriptors()
    for _ in range(20):
        thread = agent.born(actor, "thread")
        agent.order(thread, "exit_thread", number=NATIVE.number("exit"))
        child = agent.born(actor, "fork")
        begin(agent, child, "exit_group")
        agent.order(actor, "wait", pid=child)
    assert descriptors() <= before + 2  # the last of each kind


def test_an_answer_of_an_actor_that_has_ended_is_not_lost(agent: Agent) -> None:
    parent = agent.spawn()
    child = agent.born(parent, "fork")
    ended = os.pidfd_open(child)
    begin(agent, child, "getpid")
    begin(agent, child, "exit_group")
    assert has_ended(ended)
    os.close(ended)
    agent.born(parent, "fork")
    assert agent.ask("receive", task=child, seconds=SECONDS)["value"] == child
    assert agent.ask("receive", task=child, seconds=SECONDS)["gone"]


LAUNCH = """
import runpy, sys
library, program = sys.argv[1:3]
sys.path.insert(0, library)
del sys.argv[1:3]
runpy.run_path(program, run_name="__main__")
"""


@pytest.mark.parametrize("how", ["input", "dismiss"])
def test_a_launched_command_ends_with_its_children(agent: Agent, how: str) -> None:
    address = agent.ask("hello")["address"]
    command = ["sh", "-c", "sleep 1000 & echo $!; wait"]
    words = [str(bundled.MODULE), str(bundled.IN_GUEST / "agent.py"), "launch", address, *command]
    line = [sys.executable, "-c", LAUNCH, *words]
    with subprocess.Popen(line, stdout=subprocess.PIPE) as launched:
        task = agent.ask("meet_next", seconds=SECONDS)["task"]
        agent.ask("send", task=task, message={"go": True})
        assert launched.stdout
        child = os.pidfd_open(int(launched.stdout.readline()))
        if how == "input":
            assert agent.process.stdin
            agent.process.stdin.close()
        else:
            agent.ask("dismiss", seconds=SECONDS)
        assert has_ended(child)
        os.close(child)
        assert launched.wait() == 128 + signal.SIGKILL
