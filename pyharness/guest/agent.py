# SPDX-License-Identifier: GPL-2.0
"""The agent: a program in the guest that starts actors and reads the kernel log, seen from here.

The program is ``inside/agent.py``; docs/architecture.md describes the protocol.
"""

import json
import shlex
from collections import deque
from collections.abc import Callable
from typing import Any, NoReturn

import paramiko

from pyharness.errors import ActorGone, GuestError, GuestTimeout, UsageError
from pyharness.guest.history import History
from pyharness.host import bundled
from pyharness.linux import kmsg
from pyharness.linux.syscalls import Syscalls
from pyharness.transport.ssh import WATCH_SECONDS, Ssh

_PYTHON = ("python3", "-I", "-S", "-u")
# Nothing is written to the guest's disk: each program is an argument.
_START = """import sys, types
library, program = sys.argv[1:3]
del sys.argv[1:3]
interceptorctl = sys.modules["interceptorctl"] = types.ModuleType("interceptorctl")
exec(compile(library, "interceptorctl", "exec"), interceptorctl.__dict__)
exec(compile(program, "agent.py", "exec"))
"""
_CHUNK = 1 << 16
_KMSG_MOST = 2000


def program(*arguments: str, user: str = "root") -> str:
    """The shell command that runs the guest's side."""
    sources = (bundled.MODULE / "interceptorctl.py", bundled.IN_GUEST / "agent.py")
    texts = (source.read_text(encoding="utf-8") for source in sources)
    words = [*_PYTHON, "-c", _START, *texts, *arguments]
    if user != "root":
        words = ["runuser", "-u", user, "--", *words]
    return f"exec {shlex.join(words)}"


class Agent:
    """The agent of one guest. Its end is the end of all its actors."""

    def __init__(
        self,
        ssh: Ssh,
        *,
        seconds: float,
        syscalls: Syscalls,
        history: History,
        raise_cause: Callable[[GuestError], NoReturn],
    ) -> None:
        """Start it.

        Args:
            ssh: the connection to the guest.
            seconds: how long any answer may take.
            syscalls: the guest's system calls.
            history: where each order is noted.
            raise_cause: called with the error where the guest or an actor does not answer;
                raises what caused it.
        """
        self.syscalls = syscalls
        self.seconds = seconds
        self.history = history
        self.raise_cause = raise_cause
        self._ssh = ssh
        self._last_sign = ssh.clock()
        self._channel: paramiko.Channel = ssh.open(program())
        self._buffer = b""
        self._id = 0  # of the last request
        self.address: str = self.request("hello")["address"]

    def close(self) -> None:
        """End it and all its actors."""
        self._channel.close()

    def request(self, do: str, **arguments: Any) -> dict[str, Any]:
        """One request and its answer.

        Args:
            do: what; see the guest's side.
            **arguments: for it; one called ``seconds`` is how long it may wait there.

        Raises:
            GuestError: the agent can't do it, or is gone.
        """
        try:
            self._id += 1
            self._send({"id": self._id, "do": do, **arguments})
            return self._receive(arguments.get("seconds", 0.0))
        except GuestError:
            raise
        except BaseException:
            # Whoever interrupted it may have left half a request behind.
            self.close()
            raise

    def _send(self, request: dict[str, Any]) -> None:
        try:
            self._channel.sendall((json.dumps(request) + "\n").encode())
        except OSError as error:
            self.raise_cause(GuestError(f"the agent in the guest is gone: {error}"))

    def _receive(self, seconds: float) -> dict[str, Any]:
        end = self._ssh.clock() + self.seconds + seconds
        while True:
            self._ssh.watch()
            if (answer := self._next_answer()) is not None:
                break
            self._channel.settimeout(WATCH_SECONDS)
            try:
                data = self._channel.recv(_CHUNK)
            except TimeoutError:
                data = None
            if data == b"":
                said = b""
                while more := self._channel.recv_stderr(_CHUNK):
                    said += more
                self.raise_cause(
                    GuestError(f"the agent in the guest ended: {said.decode().strip()}")
                )
            if data:
                self._buffer += data
            if self._ssh.clock() > end:
                self.raise_cause(GuestTimeout("the agent in the guest does not answer"))
        if "error" in answer:
            raise GuestError(f"in the guest: {answer['error']}")
        return answer

    def _next_answer(self) -> dict[str, Any] | None:
        """The last request's answer, if it came whole; signs of life are taken note of.

        A request that was given up (for a time limit, or a crash that its kernel
        survived) may be answered later.
        """
        while b"\n" in self._buffer:
            line, self._buffer = self._buffer.split(b"\n", 1)
            self._last_sign = self._ssh.clock()
            answer: dict[str, Any] = json.loads(line)
            if answer.pop("id", None) == self._id:
                return answer
        return None

    def silence(self) -> float:
        """For how long there was no sign of life, in seconds of the machine's clock.

        There is one each second, whatever else the guest does. An agent that was
        closed gives none, which says nothing of the guest.
        """
        if self._channel.closed:
            return 0.0
        while self._channel.recv_ready():
            self._buffer += self._channel.recv(_CHUNK)
            self._last_sign = self._ssh.clock()
        return self._ssh.clock() - self._last_sign

    def expect_sign(self) -> None:
        """Count silence from now on: till now it could not say anything."""
        self._last_sign = self._ssh.clock()

    def spawn(self, user: str = "root") -> int:
        """Start a process of that user that carries out orders; its id. See Actor.

        Raises:
            UsageError: the guest has no such user.
        """
        answer = self.request("spawn", user=user, seconds=self.seconds)
        if answer.get("no_user"):
            raise UsageError(f"the guest has no user {user!r}: root and nobody are there")
        task: int = answer["task"]
        return task

    def meet_next(self, seconds: float) -> int | None:
        """The id of a launched command that is held; None if none came so soon."""
        task: int | None = self.request("meet_next", seconds=seconds).get("task")
        return task

    def read(self, path: str) -> str:
        """What a file of the guest says.

        Raises:
            GuestError: it can't be read.
        """
        text: str = self.request("read", path=path)["text"]
        return text

    def records(self, seconds: float = 0.0) -> list[kmsg.Record]:
        """The kernel log's records that were not yet read; waits for the first one so long."""
        found: deque[str] = deque()
        more = False
        while True:
            wait = 0.0 if more else seconds
            answer = self.request("kmsg", seconds=wait, most=_KMSG_MOST, go_on=more)
            found.extend(answer["records"])
            if not (more := answer["more"]):
                return [record for record in map(kmsg.parse_record, found) if record]

    def state(self, task: int) -> str:
        """A task's state, as ps(1) has it: ``S`` asleep, ``T`` stopped, ``Z`` a zombie.

        Raises:
            GuestError: there is no such task.
        """
        return self.read(f"/proc/{task}/stat").rsplit(")", 1)[1].split()[0]

    def stack(self, task: int) -> str:
        """What a task does in the kernel: its state, and the functions it is in."""
        try:
            state = self.state(task)
            stack = self.read(f"/proc/{task}/stack")
        except GuestError:
            return "it does not exist"
        return f"its state is {state}, its stack in the kernel:\n{stack}"

    def dismiss(self) -> None:
        """End all actors, whatever they do."""
        self.request("dismiss", seconds=self.seconds)

    def let_go(self, task: int) -> None:
        """Let a launched command run."""
        if self.request("send", task=task, message={"go": True}).get("gone"):
            self.raise_cause(ActorGone(f"the command that was launched as process {task} is gone"))

    def kill(self, task: int, number: int) -> None:
        """Send a signal to a process or thread of the guest."""
        self.request("kill", task=task, number=number)
