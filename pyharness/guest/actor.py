# SPDX-License-Identifier: GPL-2.0
"""An actor: a process or thread in the guest that carries out orders, such as system calls."""

import base64
import os
import reprlib
from typing import Any

from pyharness.errors import ActorGone, GuestCrashed, GuestTimeout, UsageError
from pyharness.guest import arguments, open_file
from pyharness.guest.agent import Agent
from pyharness.guest.arguments import Argument
from pyharness.guest.history import Step
from pyharness.guest.open_file import GuestFile
from pyharness.guest.result import Result
from pyharness.linux.syscalls import SyscallName, Syscalls

# How an argument is shortened in the history of a guest.
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 80
_SYSCALL = "syscall"  # the order to issue one
_SIGNALS = range(65)  # with 0, which tests whether a process is there


class Actor:
    """A process or thread in the guest that carries out orders.

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

    def _note(self, order: str) -> None:
        """Note an order, as a person would say it, in the guest's history."""
        self._step = self._agent.history.begin(f"actor {self.pid}: {order}")

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
            self._agent.raise_cause(ActorGone(f"actor {self.pid} is gone"))
        if answer.get("timeout"):
            self._agent.raise_cause(
                GuestTimeout(f"actor {self.pid} does not answer; {self._agent.stack(self.pid)}")
            )
        return answer

    def _order(
        self, call: SyscallName, args: tuple[Argument, ...], repeat: int = 1, note: str = ""
    ) -> dict[str, Any]:
        ref = self.syscalls.ref(call)
        sent = arguments.encoded(args, bytes_of_long=Syscalls(ref.abi).bytes_of_long)
        if not isinstance(repeat, int) or repeat < 1:
            raise UsageError(f"repeat is a whole number, 1 or more, not {repeat!r}")
        given = ", ".join(map(_SHORT.repr, args))
        self._note(note or f"{ref}({given})")
        order = {"do": _SYSCALL, "number": ref.number, "args": sent, "repeat": repeat}
        return order | ({} if ref.native else {"abi": ref.abi})

    def syscall(
        self, call: SyscallName, *args: Argument, repeat: int = 1, note: str = ""
    ) -> Result:
        """Issue a system call by ``ctypes``.

        >>> actor.syscall("ioctl", fd, GET_SIZE, Out(8)).data

        Args:
            call: its name or number; ``i386:mkdir`` is issued by that ABI.
            *args: numbers; for pointers what they are to point to: bytes or what is like
                them, a string (one byte for each character, and a zero byte), Out, or
                InOut. Those have 64 KiB together at most.
            repeat: how often; the last one's result is returned. What a call has
                written into an InOut, the next one reads.
            note: what the history of the guest says of it, instead of the call.
        """
        return self._result(self._carry_out(self._order(call, args, repeat, note)))

    def _result(self, answer: dict[str, Any]) -> Result:
        result = Result(
            answer["value"],
            answer["errno"],
            tuple(answer["where"]),
            arguments.decoded(answer["outputs"]),
        )
        self._step.answer = str(result)
        return result

    def begin(self, call: SyscallName, *args: Argument, repeat: int = 1) -> None:
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
