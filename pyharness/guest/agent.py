# SPDX-License-Identifier: GPL-2.0
"""Who acts in the guest, seen from the host: the agent and its actors.

The other side of this is ``inside/agent.py``.
"""

import base64
import json
import os
import reprlib
import shlex
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

import paramiko

from pyharness.errors import ActorGone, GuestCrashed, GuestError, GuestTimeout, UsageError
from pyharness.guest import arguments, open_file
from pyharness.guest.arguments import Argument
from pyharness.guest.history import History, Step
from pyharness.guest.open_file import GuestFile
from pyharness.host import paths
from pyharness.interceptor.interface import Command, Interface
from pyharness.linux import kmsg
from pyharness.linux.syscalls import Syscalls, errno_name
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
# What an argument is noted as in the history of a guest.
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 80
_SYSCALL = "syscall"  # the order to issue one
_SIGNALS = range(65)  # with 0, which tests whether a process is there
# The module takes its commands there, by every door.
CUSTOM = "restart_syscall"


def program(*arguments: str, user: str = "root") -> str:
    """The shell command that runs the guest's side."""
    sources = (paths.MODULE / "interceptorctl.py", paths.IN_GUEST / "agent.py")
    texts = (source.read_text(encoding="utf-8") for source in sources)
    words = [*_PYTHON, "-c", _START, *texts, *arguments]
    if user != "root":
        words = ["runuser", "-u", user, "--", *words]
    return f"exec {shlex.join(words)}"


@dataclass(frozen=True)
class Result:
    """What a system call returned.

    Attributes:
        value: the C library's: -1 on an error.
        errno: 0, or the error's number.
        where: for each argument that was no number, the address it was at.
        outputs: what the kernel has left in each Out and InOut, in the arguments' order.
    """

    value: int
    errno: int
    where: tuple[int | None, ...] = ()
    outputs: tuple[bytes, ...] = ()

    @property
    def data(self) -> bytes:
        """The first of the outputs, all of it, however much the kernel has written.

        Raises:
            UsageError: the call had no Out and no InOut.
        """
        if not self.outputs:
            raise UsageError("the call has no output: give it an Out or an InOut")
        return self.outputs[0]

    @property
    def error(self) -> str:
        """The error's name, empty if there is none."""
        return errno_name(self.errno) if self.errno else ""

    def __str__(self) -> str:
        return f"-{self.error}" if self.errno else str(self.value)


class Agent:
    """The agent of one guest. Its end is the end of all its actors."""

    def __init__(
        self,
        ssh: Ssh,
        *,
        seconds: float,
        syscalls: Syscalls,
        history: History,
        lost: Callable[[GuestError], NoReturn],
    ) -> None:
        """Start it.

        Args:
            ssh: the way in.
            seconds: how long any answer may take.
            syscalls: the guest's system calls.
            history: where each order is noted.
            lost: told of a guest or actor that does not answer; raises what is the matter.
        """
        self.syscalls = syscalls
        self.seconds = seconds
        self.history = history
        self.lost = lost
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
            self.lost(GuestError(f"the agent in the guest is gone: {error}"))

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
                self.lost(GuestError(f"the agent in the guest ended: {said.decode().strip()}"))
            if data:
                self._buffer += data
            if self._ssh.clock() > end:
                self.lost(GuestTimeout("the agent in the guest does not answer"))
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

    def spawn(self, user: str = "root") -> "Actor":
        """Start a process of that user that does what it's told.

        Raises:
            UsageError: the guest has no such user.
        """
        answer = self.request("spawn", user=user, seconds=self.seconds)
        if answer.get("no_user"):
            raise UsageError(f"the guest has no user {user!r}: root and nobody are there")
        return Actor(self, answer["task"])

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
            self.lost(ActorGone(f"the command that was launched as process {task} is gone"))

    def kill(self, task: int, number: int) -> None:
        """Send a signal to a process or thread of the guest."""
        self.request("kill", task=task, number=number)


class Actor:
    """A process or thread in the guest that does what it's told.

    Attributes:
        pid: its id, as gettid() says: of a process's first thread, the process's.
    """

    def __init__(self, agent: Agent, task: int) -> None:
        """An actor that the agent has met."""
        self._agent = agent
        self._step = Step("")
        self._unanswered = ""  # the order that it still carries out
        self.pid = task

    def __repr__(self) -> str:
        return f"Actor({self.pid})"

    @property
    def syscalls(self) -> Syscalls:
        """The names and numbers of its system calls."""
        return self._agent.syscalls

    def _note(self, told: str) -> None:
        """Note an order, as a person would say it, in the guest's history."""
        self._step = self._agent.history.begin(f"actor {self.pid}: {told}")

    def _ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        given = (f"{name}={_SHORT.repr(value)}" for name, value in arguments.items())
        self._note(f"{do}({', '.join(given)})")
        answer = self._carry_out({"do": do, **arguments})
        self._step.answer = "done"
        return answer

    def _carry_out(self, message: dict[str, Any]) -> dict[str, Any]:
        self._must_be_idle()
        return self._exchange("ask", message["do"], message=message, seconds=self._agent.seconds)

    def _must_be_idle(self) -> None:
        """Make sure that the next answer is not an earlier order's."""
        if self._unanswered == _SYSCALL:
            raise UsageError(
                f"actor {self.pid} is still in a call that was begun: finish() it first"
            )
        if self._unanswered:
            raise UsageError(f"actor {self.pid} is still in {self._unanswered}(): use another one")

    def _exchange(self, do: str, order: str, **arguments: Any) -> dict[str, Any]:
        """A request of the agent about this actor, which carries out that order."""
        try:
            return self._answer(self._agent.request(do, task=self.pid, **arguments))
        except (GuestTimeout, GuestCrashed):
            self._unanswered = order
            raise

    def _answer(self, answer: dict[str, Any]) -> dict[str, Any]:
        if answer.get("gone"):
            self._agent.lost(ActorGone(f"actor {self.pid} is gone"))
        if answer.get("timeout"):
            self._agent.lost(
                GuestTimeout(f"actor {self.pid} does not answer; {self._agent.stack(self.pid)}")
            )
        return answer

    def _order(
        self, call: str | int, args: tuple[Argument, ...], repeat: int = 1, *, told: str = ""
    ) -> dict[str, Any]:
        door, number = self._agent.syscalls.door_and_number(call)
        syscalls = self._agent.syscalls.by(door)
        name = syscalls.name(number)
        sent = arguments.encoded(args, bytes_of_long=syscalls.bytes_of_long)
        if not isinstance(repeat, int) or repeat < 1:
            raise UsageError(f"repeat is a whole number, 1 or more, not {repeat!r}")
        given = ", ".join(map(_SHORT.repr, args))
        self._note(told or f"{name}({given}){door and f' by {door}'}")
        order = {"do": _SYSCALL, "number": number, "args": sent, "repeat": repeat}
        return order | ({"door": door} if door else {})

    def syscall(self, call: str | int, *args: Argument, repeat: int = 1) -> Result:
        """Issue a system call by ``ctypes``.

        >>> actor.syscall("ioctl", fd, GET_SIZE, Out(8)).data

        Args:
            call: its name or number; ``i386:mkdir`` is issued by that ABI.
            *args: numbers; for pointers what they are to point to: bytes or what is like
                them, a string (one byte for each character, and a zero byte), Out, or
                InOut. Those have 64 KiB together at most.
            repeat: how often; the last one's result is returned. What a call has
                written into an InOut, the next one reads.
        """
        return self._result(self._carry_out(self._order(call, args, repeat)))

    def _result(self, answer: dict[str, Any]) -> Result:
        result = Result(
            answer["value"],
            answer["errno"],
            tuple(answer["where"]),
            arguments.decoded(answer["outputs"]),
        )
        self._step.answer = str(result)
        return result

    def begin(self, call: str | int, *args: Argument, repeat: int = 1) -> None:
        """Issue a system call that lasts, or many; finish() has the result.

        Until then the actor can do nothing else.

        Raises:
            UsageError: it is still in a call that was begun before.
        """
        message = self._order(call, args, repeat)
        self._must_be_idle()
        self._exchange("send", _SYSCALL, message=message)
        self._unanswered = _SYSCALL

    def finish(self, seconds: float | None = None) -> Result:
        """The result of the call that was begun, or that had a GuestTimeout.

        Raises:
            GuestTimeout: it still lasts; finish() can be called again.
            UsageError: the actor is in no call.
        """
        if self._unanswered != _SYSCALL:
            raise UsageError(f"actor {self.pid} is in no call that was begun: begin() one first")
        wait = self._agent.seconds if seconds is None else seconds
        answer = self._exchange("receive", _SYSCALL, seconds=wait)
        self._unanswered = ""
        return self._result(answer)

    def open(self, path: str, flags: int = os.O_RDONLY, mode: int = 0o666) -> GuestFile:
        """Open a file or device of the guest; use it as a context, and it is closed.

        >>> with actor.open("/dev/ring", os.O_RDWR) as file:
        ...     file.write(b"hello")

        Args:
            path: of the file.
            flags: as ``os`` has them; they are translated where the guest has other numbers.
            mode: for a file that is made.

        Raises:
            OSError: the kernel refuses: PermissionError, FileNotFoundError, or another.
            ValueError: the path has a zero byte.
        """
        flags = open_file.translated(flags, self.syscalls.architecture)
        name = os.fsencode(path)
        if b"\0" in name:
            raise ValueError("embedded null byte")  # as Python's open() has it
        result = self.syscall("openat", open_file.AT_FDCWD, name + b"\0", flags, mode)
        return GuestFile(self, open_file.succeeded(result, path).value, path)

    def read_memory(self, address: int, count: int) -> bytes:
        """Read the actor's own memory; a signal ends an actor that may not."""
        self._check_address(address)
        arguments.checked_size(count)
        found = b""
        while len(found) < count:
            most = min(count - len(found), arguments.LARGEST_BYTES)
            answer = self._ask("peek", address=address + len(found), count=most)
            found += base64.b64decode(answer["data"])
        return found

    def _check_address(self, address: int) -> None:
        arguments.in_register(address, bits=8 * self.syscalls.bytes_of_long)

    def write_memory(self, address: int, data: arguments.BytesLike) -> None:
        """Write the actor's own memory; a signal ends an actor that may not."""
        self._check_address(address)
        data = arguments.bytes_of(data)
        for at in range(0, len(data), arguments.LARGEST_BYTES):
            part = base64.b64encode(data[at : at + arguments.LARGEST_BYTES]).decode()
            self._ask("poke", address=address + at, data=part)

    def command(
        self, abi: Interface, command: Command | int, syscall: str | int, pid: int = 0
    ) -> Result:
        """Issue one of the module's commands, as anybody would: syscall(0, …).

        About ``i386:mkdir`` it is issued by that door, with that door's numbers.
        """
        value = abi.commands[command] if isinstance(command, Command) else command
        door, number = self._agent.syscalls.door_and_number(syscall)
        syscalls = self._agent.syscalls.by(door)
        what = command.name if isinstance(command, Command) else f"command {command}"
        told = f"{what} {syscalls.name(number)} ({number}), pid {pid}{door and f' by {door}'}"
        custom = f"{door}:{CUSTOM}" if door else abi.custom_syscall
        order = self._order(custom, (value, number, pid), told=told)
        return self._result(self._carry_out(order))

    def _born(self, do: str) -> "Actor":
        task = self._ask(do)["task"]
        self._agent.request("meet", task=task, seconds=self._agent.seconds)
        return Actor(self._agent, task)

    def fork(self) -> "Actor":
        """Have a child that is an actor, too."""
        return self._born("fork")

    def thread(self) -> "Actor":
        """Have another thread that is an actor, too."""
        return self._born("thread")

    def _leave(self, do: str, **arguments: Any) -> None:
        try:
            self._ask(do, **arguments)
        except ActorGone:
            return

    def exit(self, code: int = 0) -> None:
        """End the whole process by exit_group()."""
        self._leave("exit_group", code=code)

    def exit_thread(self) -> None:
        """End just this thread by exit(), and wait until it's gone."""
        self._leave("exit_thread", number=self._agent.syscalls.number("exit"))

    def execute(self, *argv: str) -> None:
        """Become another program, which is no actor."""
        self._leave("execute", argv=list(argv))

    def wait(self, child: "Actor") -> int:
        """Wait for the end of a child of this actor's.

        Returns:
            Its status, as wait(2) has it.
        """
        status: int = self._ask("wait", pid=child.pid)["status"]
        return status

    def kill(self, number: int) -> None:
        """Send it a signal.

        Raises:
            UsageError: there is no such signal.
        """
        if number not in _SIGNALS:
            raise UsageError(f"{number!r} is no signal: give a number from 0 to 64")
        self._agent.kill(self.pid, number)

    def reap(self) -> int:
        """Wait for the end of an actor that was spawned; its status as wait(2) has it."""
        answer = self._agent.request("reap", task=self.pid, seconds=self._agent.seconds)
        status: int = self._answer(answer)["status"]
        return status
