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

# Shortens the arguments of an order for the guest's history.
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 80
_SYSCALL = "syscall"  # the name of the order to issue a system call
_SIGNALS = range(65)  # 0 only tests whether the process exists


class Actor:
    """A process or thread in the guest that carries out orders.

    Attributes:
        pid: its thread id, as gettid() returns it. For the first thread of a process this is
            the process id.
    """

    def __init__(self, agent: Agent, task: int) -> None:
        """Represent the actor with the thread id ``task``, which has connected to the agent."""
        self._agent = agent
        self._step = Step("")
        self._unanswered = ""  # the order whose answer is still to come
        self.pid = task

    def __repr__(self) -> str:
        return f"Actor({self.pid})"

    @property
    def syscalls(self) -> Syscalls:
        """The names and numbers of the guest's system calls."""
        return self._agent.syscalls

    def _note(self, order: str) -> None:
        """Add an order, in a readable form, to the guest's history."""
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
        """Make sure that no earlier order is unanswered: its answer would be taken for the next.

        Raises:
            UsageError: one is.
        """
        if self._unanswered == _SYSCALL:
            raise UsageError(
                f"actor {self.pid} is still in a call that was begun: finish() it first"
            )
        if self._unanswered:
            raise UsageError(
                f"actor {self.pid} has not finished {self._unanswered}(): use another actor"
            )

    def _exchange(self, do: str, order: str, **arguments: Any) -> dict[str, Any]:
        """Send the agent a request about this actor, and return the answer.

        After a timeout or a crash, ``order`` is remembered as unanswered.
        """
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
        self,
        call: SyscallName,
        *args: Argument,
        repeat: int = 1,
        note: str = "",
        fail_nth: int = 0,
    ) -> Result:
        """Issue a system call from the actor, through ``ctypes``.

        >>> actor.syscall("ioctl", fd, GET_SIZE, Out(8)).data

        Args:
            call: the name or number of the system call. A prefix selects the ABI:
                ``i386:mkdir``.
            *args: a number is passed as it is. For anything else, the actor passes a pointer to
                a buffer with that content: bytes, bytearray or memoryview; a string, as one
                byte per character and a zero byte; Out or InOut. All buffers of one call have
                at most 64 KiB together.
            repeat: how many times to issue the call, with the same buffers: what one call wrote
                into an InOut, the next call reads.
            note: the text for the guest's history; by default the call and its arguments.
            fail_nth: the number of the fault that the kernel injects into the call, counted from
                1; 0 for none. The kernel needs ``CONFIG_FAULT_INJECTION``; the fixture
                fail_allocations has the n-th request for memory fail.

        Returns:
            The result of the last call. An error of the kernel is in its ``errno``, and raises
            nothing.

        Raises:
            UsageError: there is no such system call, an argument can't be passed, or an earlier
                order of the actor is unanswered.
            ActorGone: the actor has ended.
            GuestTimeout: the call did not return in time; finish() can still get its result.
            GuestCrashed: the guest's kernel crashed.
        """
        order = self._order(call, args, repeat, note)
        if fail_nth:
            order["fail_nth"] = fail_nth
        return self._result(self._carry_out(order))

    def _result(self, answer: dict[str, Any]) -> Result:
        result = Result(
            answer["value"],
            answer["errno"],
            tuple(answer["where"]),
            arguments.decoded(answer["outputs"]),
            answer["injected"],
        )
        self._step.answer = str(result)
        return result

    def begin(self, call: SyscallName, *args: Argument, repeat: int = 1) -> None:
        """Start a system call, and return without waiting for it; finish() gets the result.

        The actor accepts no other order until finish() has returned.

        Args:
            call: the name or number of the system call, as for syscall().
            *args: its arguments, as for syscall().
            repeat: how many times to issue it.

        Raises:
            UsageError: there is no such system call, an argument can't be passed, or an earlier
                order of the actor is unanswered.
            ActorGone: the actor has ended.
        """
        message = self._order(call, args, repeat)
        self._must_be_idle()
        self._exchange("send", _SYSCALL, message=message)
        self._unanswered = _SYSCALL

    def finish(self, seconds: float | None = None) -> Result:
        """Wait for the system call that begin() started, or that ended in a GuestTimeout.

        Args:
            seconds: how long to wait for it, as measured in the guest; None: as long as for
                any order.

        Returns:
            The result of the call.

        Raises:
            GuestTimeout: the call has not returned yet; finish() can be called again.
            UsageError: the actor is in no call.
            ActorGone: the actor has ended.
        """
        if self._unanswered != _SYSCALL:
            raise UsageError(f"actor {self.pid} has no call in progress: start one by begin()")
        wait = self._agent.seconds if seconds is None else seconds
        answer = self._exchange("receive", _SYSCALL, seconds=wait)
        self._unanswered = ""
        return self._result(answer)

    def open(self, path: str, flags: int = os.O_RDONLY, mode: int = 0o666) -> GuestFile:
        """Open a file or device of the guest; a ``with`` block closes it.

        >>> with actor.open("/dev/ring", os.O_RDWR) as file:
        ...     file.write(b"hello")

        Args:
            path: the file's path in the guest.
            flags: the ``O_`` flags of this host's ``os``, translated to the numbers of the
                guest's architecture.
            mode: the permissions of a file that is created.

        Returns:
            The open file.

        Raises:
            OSError: the guest's kernel refused: the subclass for the error, such as
                PermissionError or FileNotFoundError.
            ValueError: the path contains a zero byte.
        """
        flags = open_file.translated(flags, self.syscalls.architecture)
        name = os.fsencode(path)
        if b"\0" in name:
            raise ValueError("embedded null byte")  # the message of Python's open()
        result = self.syscall("openat", open_file.AT_FDCWD, name + b"\0", flags, mode)
        return GuestFile(self, open_file.succeeded(result, path).value, path)

    def read_memory(self, address: int, count: int) -> bytes:
        """Read the actor's own memory. Memory that it can't read kills it by a signal.

        Args:
            address: where to begin.
            count: how many bytes to read; any number.

        Returns:
            The bytes.

        Raises:
            UsageError: the address does not fit into a register, or the count is no size.
            ActorGone: a signal has killed the actor.
        """
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
        """Write to the actor's own memory. Memory that it can't write to kills it by a signal.

        Args:
            address: where to begin.
            data: the bytes; any number.

        Raises:
            UsageError: the address does not fit into a register, or the data are no bytes.
            ActorGone: a signal has killed the actor.
        """
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
        """Fork the actor, and return the child, which is an actor as well."""
        return self._born("fork")

    def thread(self) -> "Actor":
        """Start a thread in the actor's process, and return it, an actor as well."""
        return self._born("thread")

    def _leave(self, do: str, **arguments: Any) -> None:
        try:
            self._ask(do, **arguments)
        except ActorGone:
            return

    def exit(self, code: int = 0) -> None:
        """End the actor's whole process by exit_group(), with the exit status ``code``."""
        self._leave("exit_group", code=code)

    def exit_thread(self) -> None:
        """End the actor's thread, and no other, by exit().

        The thread has accepted the order when this returns, and is about to end.
        """
        self._leave("exit_thread", number=self._agent.syscalls.number("exit"))

    def execute(self, *argv: str) -> None:
        """Replace the actor's program by execv(); the process is then no actor any more.

        Its standard streams are ``/dev/null``, as those of each actor: have a shell redirect them
        to see what a program prints.

        Args:
            *argv: the program's path, which is also its name, and its arguments.

        Raises:
            GuestError: the program can't be executed; the actor goes on.
        """
        self._leave("execute", argv=list(argv))

    def wait(self, child: "Actor") -> int:
        """Wait until a child of this actor has ended, by waitpid().

        Returns:
            The child's wait status, as wait(2) encodes it; ``os.waitstatus_to_exitcode()``
            decodes it.
        """
        status: int = self._ask("wait", pid=child.pid)["status"]
        return status

    def kill(self, number: int) -> None:
        """Send the actor a signal.

        Args:
            number: the signal's number, from 0 to 64; 0 only tests whether the actor exists.

        Raises:
            UsageError: there is no such signal.
            GuestError: there is no such process.
        """
        if number not in _SIGNALS:
            raise UsageError(f"{number!r} is not a signal: give a number from 0 to 64")
        self._agent.kill(self.pid, number)

    def reap(self) -> int:
        """Wait until an actor that Guest.actor() started has ended.

        Returns:
            Its wait status, as wait(2) encodes it; ``os.waitstatus_to_exitcode()`` decodes it.

        Raises:
            GuestTimeout: it did not end in time.
        """
        answer = self._agent.request("reap", task=self.pid, seconds=self._agent.seconds)
        status: int = self._answer(answer)["status"]
        return status
