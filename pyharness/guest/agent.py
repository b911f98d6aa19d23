# SPDX-License-Identifier: GPL-2.0
"""The host's side of the agent, the program in the guest that starts actors and reads its log.

The program itself is ``inside/agent.py``; docs/architecture.md describes the protocol.
"""

import json
import shlex
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import paramiko

from pyharness.errors import ActorGone, GuestError, GuestTimeout, UsageError
from pyharness.guest.history import History
from pyharness.host import bundled
from pyharness.linux import kmsg
from pyharness.linux.syscalls import Syscalls
from pyharness.transport.ssh import WATCH_SECONDS, Ssh

_PYTHON = ("python3", "-I", "-S", "-u")
# Both programs are passed as arguments, so that nothing is written to the guest's disk.
_START = """import sys, types
library, program = sys.argv[1:3]
del sys.argv[1:3]
interceptorctl = sys.modules["interceptorctl"] = types.ModuleType("interceptorctl")
exec(compile(library, "interceptorctl", "exec"), interceptorctl.__dict__)
exec(compile(program, "program", "exec"))
"""
_CHUNK = 1 << 16
_KMSG_MOST = 2000  # records of the kernel log in one answer


def program(*arguments: str, user: str = "root", file: Path = bundled.IN_GUEST / "agent.py") -> str:
    """Return the shell command that runs a program that imports ``interceptorctl`` in the guest.

    Args:
        *arguments: the program's arguments.
        user: the user who runs it.
        file: the program; that of the agent by default.
    """
    sources = (bundled.MODULE / "interceptorctl.py", file)
    texts = (source.read_text(encoding="utf-8") for source in sources)
    words = [*_PYTHON, "-c", _START, *texts, *arguments]
    if user != "root":
        words = ["runuser", "-u", user, "--", *words]
    return f"exec {shlex.join(words)}"


class Agent:
    """The agent of one guest. When it ends, all its actors end.

    Attributes:
        closed: whether it has ended, or close() was called: this object can't be used any more.
    """

    def __init__(
        self,
        ssh: Ssh,
        *,
        seconds: float,
        syscalls: Syscalls,
        history: History,
        raise_cause: Callable[[GuestError], NoReturn],
    ) -> None:
        """Start the agent in the guest.

        Args:
            ssh: the connection to the guest.
            seconds: how long an answer may take, in seconds of ``ssh.clock()``.
            syscalls: the guest's system calls.
            history: the guest's history, to which each order is added.
            raise_cause: called with the error if the guest or an actor does not answer; raises
                the cause, such as a crash of the kernel, or the error itself.
        """
        self.syscalls = syscalls
        self.seconds = seconds
        self.history = history
        self.raise_cause = raise_cause
        self.closed = False
        self._ssh = ssh
        self._last_sign = ssh.clock()
        self._channel = self._open()
        self._buffer = b""
        self._id = 0  # the last request's
        self.address: str = self.request("hello")["address"]

    def _open(self) -> paramiko.Channel:
        try:
            return self._ssh.open(program())
        except GuestError as error:
            self.raise_cause(error)

    def close(self) -> None:
        """End the agent and all its actors."""
        self.closed = True
        self._channel.close()

    def request(self, do: str, **arguments: Any) -> dict[str, Any]:
        """Send a request, and wait for its answer.

        Args:
            do: the request's name: ``spawn`` calls ``do_spawn()`` of ``inside/agent.py``.
            **arguments: its arguments. ``seconds`` is how long the request may wait in the
                guest; it extends the time limit for the answer.

        Returns:
            The answer.

        Raises:
            GuestError: the request failed, or the agent has ended.
            GuestTimeout: no answer came in time.
            GuestCrashed: the guest's kernel crashed.
        """
        try:
            self._id += 1
            self._send({"id": self._id, "do": do, **arguments})
            return self._receive(arguments.get("seconds", 0.0))
        except GuestError:
            raise
        except BaseException:
            # The interruption may have cut off a request in the middle: the agent could not read
            # the next one.
            self.close()
            raise

    def _send(self, request: dict[str, Any]) -> None:
        try:
            self._channel.sendall((json.dumps(request) + "\n").encode())
        except OSError as error:
            self.close()
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
                self.close()
                why = said.decode(errors="replace").strip()
                self.raise_cause(GuestError(f"the agent in the guest ended: {why}"))
            if data:
                self._buffer += data
            if self._ssh.clock() > end:
                self.raise_cause(GuestTimeout("the agent in the guest does not answer"))
        if "error" in answer:
            raise GuestError(f"in the guest: {answer['error']}")
        return answer

    def _next_answer(self) -> dict[str, Any] | None:
        """Return the last request's answer if it has arrived completely; record signs of life.

        Answers to earlier requests are dropped: the host may have given up a request (for a time
        limit, or a crash that the kernel survived) before its answer came.
        """
        while b"\n" in self._buffer:
            line, self._buffer = self._buffer.split(b"\n", 1)
            self._last_sign = self._ssh.clock()
            answer = self._parsed(line)
            if answer.pop("id", None) == self._id:
                return answer
        return None

    def _parsed(self, line: bytes) -> dict[str, Any]:
        """Parse a line of the agent's; whoever is root in the guest can write to its output.

        Raises:
            GuestError: it is no answer.
        """
        try:
            answer = json.loads(line)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            self.raise_cause(GuestError("somebody else has written to the output of the agent"))
        return answer

    def silence(self) -> float:
        """Return the seconds, of ``ssh.clock()``, since the agent's last sign of life.

        The agent sends one each second, whatever else the guest does. The result is 0 once the
        agent was closed, as its silence then says nothing about the guest.
        """
        if self._channel.closed:
            return 0.0
        while self._channel.recv_ready():
            self._buffer += self._channel.recv(_CHUNK)
            self._last_sign = self._ssh.clock()
        return self._ssh.clock() - self._last_sign

    def expect_sign(self) -> None:
        """Measure silence from now on, as after a pause in which the guest could not run."""
        self._last_sign = self._ssh.clock()

    def spawn(self, user: str = "root") -> int:
        """Start a process that carries out orders; Actor represents it.

        Args:
            user: the user whose process it is.

        Returns:
            The process id.

        Raises:
            UsageError: the guest has no such user.
        """
        answer = self.request("spawn", user=user, seconds=self.seconds)
        if answer.get("no_user"):
            raise UsageError(f"the guest has no user {user!r}: use root or nobody")
        task: int = answer["task"]
        return task

    def meet_next(self, seconds: float) -> int | None:
        """Wait for the next command that ``agent.py launch`` holds before its first instruction.

        Args:
            seconds: how long to wait, as measured in the guest.

        Returns:
            Its process id; None if none came in time.
        """
        task: int | None = self.request("meet_next", seconds=seconds).get("task")
        return task

    def read(self, path: str) -> str:
        """Read a text file of the guest, as root.

        Raises:
            GuestError: it can't be read.
        """
        text: str = self.request("read", path=path)["text"]
        return text

    def records(self, seconds: float = 0.0) -> list[kmsg.Record]:
        """Read the records of the kernel log that were not read yet.

        Args:
            seconds: how long to wait for the first record if there is none yet.
        """
        found: deque[str] = deque()
        more = False
        while True:
            wait = 0.0 if more else seconds
            answer = self.request("kmsg", seconds=wait, most=_KMSG_MOST, go_on=more)
            found.extend(answer["records"])
            if not (more := answer["more"]):
                return [record for record in map(kmsg.parse_record, found) if record]

    def state(self, task: int) -> str:
        """Return a task's state as the letter in ps(1): ``S`` asleep, ``T`` stopped, ``Z`` zombie.

        Raises:
            GuestError: there is no such task.
        """
        return self.read(f"/proc/{task}/stat").rsplit(")", 1)[1].split()[0]

    def stack(self, task: int) -> str:
        """Describe what a task does in the kernel: its state, and its kernel stack."""
        try:
            state = self.state(task)
            stack = self.read(f"/proc/{task}/stack")
        except GuestError:
            return "it does not exist"
        return f"its state is {state}, its stack in the kernel:\n{stack}"

    def dismiss(self) -> None:
        """Kill all actors, whatever they are doing."""
        self.request("dismiss", seconds=self.seconds)

    def let_go(self, task: int) -> None:
        """Let a command run that is held before its first instruction; see meet_next().

        Raises:
            ActorGone: it has ended.
        """
        if self.request("send", task=task, message={"go": True}).get("gone"):
            self.raise_cause(ActorGone(f"the command that was launched as process {task} is gone"))

    def kill(self, task: int, number: int) -> None:
        """Send a signal to a process or thread of the guest."""
        self.request("kill", task=task, number=number)
