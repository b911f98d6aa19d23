# SPDX-License-Identifier: GPL-2.0
"""The program that acts in the guest: actors that carry out orders, one after another.

It runs on the guest's Python (3.9 or later), with the module's interceptorctl
as a library, and the standard library alone::

    agent.py                        serve: JSON lines on standard input and output
    agent.py launch ADDRESS COMMAND start COMMAND, held before its first instruction

An actor is a process or thread that waits for an order on a socket of its own,
carries it out and answers. The agent knows each by the id of its task (what
gettid() says), starts those that are not born of another, and passes on orders
and answers. Sockets are sequenced packets: a message is a packet.
"""

from __future__ import annotations

import binascii
import contextlib
import ctypes
import json
import mmap
import os
import pwd
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import interceptorctl

PACKET = 1 << 17
RECORD = 1 << 13
LIBC = interceptorctl.LIBC
PTRACE_TRACEME, PTRACE_DETACH = 0, 17
PR_SET_PDEATHSIG = 1
TICK_SECONDS = 1.0


# ---- an actor's side ----

# The channels of all threads of this process: the agent sees that one is gone
# by its channel's end, which a child must not hold open.
CHANNELS: list[socket.socket] = []


def join(address: bytes) -> None:
    """Become an actor: meet the agent, then serve it."""
    meeting = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    meeting.connect(address)
    CHANNELS.append(meeting)
    tell(meeting, {"task": threading.get_native_id(), "process": os.getpid()})
    serve(meeting, address)


def tell(channel: socket.socket, message: dict[str, Any]) -> None:
    """Send one message."""
    channel.send(json.dumps(message).encode())


def serve(channel: socket.socket, address: bytes) -> None:
    """Carry out orders until the agent is gone."""
    actor = Actor(address)
    while True:
        packet = channel.recv(PACKET)
        if not packet:
            os._exit(0)
        try:
            order = json.loads(packet)
            answer = getattr(actor, order.pop("do"))(**order)
        except Exception as error:  # the actor lives on, whatever it was asked for
            answer = {"error": described(error)}
        tell(channel, answer)
        if answer.get("leave"):
            channel.close()
            LIBC.syscall(ctypes.c_long(answer["leave"]), ctypes.c_long(0))


def described(error: Exception) -> str:
    """An error in one line; the kernel's are sentences already."""
    return str(error) if isinstance(error, OSError) else f"{type(error).__name__}: {error}"


class Actor:
    """The orders that an actor understands."""

    def __init__(self, address: bytes) -> None:
        """Remember where the agent is, for those to be born."""
        self.address = address

    def syscall(
        self, number: int, args: list[Any], repeat: int = 1, abi: str = ""
    ) -> dict[str, Any]:
        """Issue a system call, more than once if asked to; the last one's result.

        An argument is a number, or describes a buffer: its address is given.
        """
        with (low_buffers if abi else high_buffers)(args) as buffers:
            where = [None if buffer is None else ctypes.addressof(buffer) for buffer in buffers]
            values = [arg if at is None else at for arg, at in zip(args, where)]
            value, error = (int80 if abi else call)(number, values, repeat)
            outputs = [
                binascii.b2a_base64(memoryview(buffer)[: arg["size"]], newline=False).decode()
                for arg, buffer in zip(args, buffers)
                if buffer is not None and arg["out"]
            ]
        return {"value": value, "errno": error, "where": where, "outputs": outputs}

    def peek(self, address: int, count: int) -> dict[str, Any]:
        """Read memory of this process."""
        data = ctypes.string_at(address, count)
        return {"data": binascii.b2a_base64(data, newline=False).decode()}

    def poke(self, address: int, data: str) -> dict[str, Any]:
        """Write memory of this process."""
        given = binascii.a2b_base64(data)
        ctypes.memmove(address, given, len(given))
        return {}

    def fork(self) -> dict[str, Any]:
        """Have a child that is an actor, too."""
        child = os.fork()
        if not child:
            try:
                while CHANNELS:
                    CHANNELS.pop().close()
                join(self.address)
            finally:
                os._exit(1)
        return {"task": child}

    def thread(self) -> dict[str, Any]:
        """Have another thread that is an actor, too."""
        born = threading.Event()
        ids: list[int] = []

        def begin() -> None:
            ids.append(threading.get_native_id())
            born.set()
            join(self.address)

        threading.Thread(target=begin, daemon=True).start()
        born.wait()
        return {"task": ids[0]}

    def wait(self, pid: int) -> dict[str, Any]:
        """Wait for the end of a child; tells its status, as the C library has it."""
        return {"status": os.waitpid(pid, 0)[1]}

    def exit_group(self, code: int) -> None:
        """End the whole process."""
        os._exit(code)

    def exit_thread(self, number: int) -> dict[str, Any]:
        """Answer, then end just this thread, by exit(), whose number it is."""
        return {"leave": number}

    def execute(self, argv: list[str]) -> None:
        """Become another program."""
        os.execv(argv[0], argv)


# ---- system calls, and what their arguments point to ----

MAP_32BIT = 0x40
ALIGNED = 16


def call(number: int, values: list[int], repeat: int) -> tuple[int, int]:
    """Issue a system call by the C library: its result and errno."""
    words = [ctypes.c_long(value) for value in values]
    for _ in range(repeat):
        ctypes.set_errno(0)
        value = LIBC.syscall(ctypes.c_long(number), *words)
    return value, ctypes.get_errno() if value == -1 else 0


def int80(number: int, values: list[int], repeat: int) -> tuple[int, int]:
    """Likewise by int 0x80, the 32-bit ABI of an amd64 kernel, from a 64-bit process."""
    result: tuple[int, int] = interceptorctl.int80(number, *values, repeat=repeat)
    return result


def content(arg: dict[str, Any]) -> bytes:
    """What is in a buffer before the call."""
    data = binascii.a2b_base64(arg["data"])
    return data + bytes(arg["size"] - len(data))


@contextlib.contextmanager
def high_buffers(args: list[Any]) -> Iterator[list[Any]]:
    """For each argument that describes a buffer, the buffer; None for a number."""
    yield [
        None if isinstance(arg, int) else ctypes.create_string_buffer(content(arg)) for arg in args
    ]


@contextlib.contextmanager
def low_buffers(args: list[Any]) -> Iterator[list[Any]]:
    """Likewise, at addresses that 32 bits reach."""
    wanted = [arg for arg in args if not isinstance(arg, int)]
    total = sum(arg["size"] + 2 * ALIGNED for arg in wanted)
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_32BIT
    with mmap.mmap(-1, max(total, 1), flags, mmap.PROT_READ | mmap.PROT_WRITE) as low:
        buffers: list[Any] = []
        at = 0
        for arg in args:
            buffers.append(None if isinstance(arg, int) else placed(low, at, content(arg) + b"\0"))
            if not isinstance(arg, int):
                at += -(-(arg["size"] + 1) // ALIGNED) * ALIGNED
        try:
            yield buffers
        finally:
            buffers.clear()  # memory that a buffer still knows can't be given back


def placed(memory: mmap.mmap, at: int, data: bytes) -> Any:
    """A buffer with that content, at a place in mapped memory."""
    buffer = (ctypes.c_char * len(data)).from_buffer(memory, at)
    ctypes.memmove(buffer, data, len(data))
    return buffer


# ---- the agent's side ----


class Agent:
    """Starts actors, and passes their orders and answers on."""

    def __init__(self) -> None:
        """Open the meeting place and the kernel log."""
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.listener.bind(b"\0pyharness-" + os.urandom(8).hex().encode())
        self.listener.listen(64)
        self.address = self.listener.getsockname()
        self.actors: dict[int, socket.socket] = {}
        self.children: set[int] = set()
        self.kmsg = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
        self.tail = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
        self.end: int | None = None

    def is_ready(self, file: Any, seconds: float) -> bool:
        """Wait until a file can be read, with a sign of life now and then."""
        end = time.monotonic() + seconds
        while True:
            left = end - time.monotonic()
            if select.select([file], [], [], max(0.0, min(left, TICK_SECONDS)))[0]:
                return True
            if left <= TICK_SECONDS:
                return False
            self.say({"tick": time.monotonic()})

    @staticmethod
    def say(answer: dict[str, Any]) -> None:
        """Tell the host."""
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()

    def accept(self) -> int:
        """Let in who stands at the meeting place; its task.

        Who is in a pid namespace of its own knows itself by another number.
        """
        channel, _ = self.listener.accept()
        said = json.loads(channel.recv(PACKET))
        peer = channel.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        process = int.from_bytes(peer[:4], sys.byteorder)
        task: int = said["task"] if said["process"] in (process, None) else process
        self.actors[task] = channel
        return task

    def meet(self, task: int, seconds: float) -> None:
        """Wait for the actor of that task to come to the meeting place."""
        end = time.monotonic() + seconds
        while task not in self.actors:
            if not self.is_ready(self.listener, end - time.monotonic()):
                raise TimeoutError(f"task {task} did not come")
            self.accept()

    def do_hello(self) -> dict[str, Any]:
        """Who this is and where launched commands meet it."""
        return {"address": self.address.hex(), "pid": os.getpid(), "python": sys.version.split()[0]}

    def do_spawn(self, user: str, seconds: float) -> dict[str, Any]:
        """Start an actor of that user."""
        try:
            entry = pwd.getpwnam(user)
        except (KeyError, TypeError, ValueError):  # it has no such user, or none can be called so
            return {"no_user": True}
        child = os.fork()
        if not child:
            try:
                os.setsid()
                os.initgroups(user, entry.pw_gid)
                os.setgid(entry.pw_gid)
                os.setuid(entry.pw_uid)
                LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
                for channel in (*self.actors.values(), self.listener):
                    channel.close()
                os.close(self.kmsg)
                os.close(self.tail)
                join(self.address)
            finally:
                os._exit(1)
        self.children.add(child)
        self.meet(child, seconds)
        return {"task": child}

    def do_meet(self, task: int, seconds: float) -> dict[str, Any]:
        """Wait for a task that another actor gave birth to."""
        self.meet(task, seconds)
        return {}

    def do_meet_next(self, seconds: float) -> dict[str, Any]:
        """Wait for a launched command, whichever comes."""
        if not self.is_ready(self.listener, seconds):
            return {"timeout": True}
        return {"task": self.accept()}

    def do_send(self, task: int, message: dict[str, Any]) -> dict[str, Any]:
        """Give an actor an order; its answer is for do_receive."""
        try:
            tell(self.actors[task], message)
        except (ConnectionError, KeyError):
            return {"gone": True}
        return {}

    def do_receive(self, task: int, seconds: float) -> dict[str, Any]:
        """An actor's answer, or that it's gone."""
        channel = self.actors.get(task)
        if channel is None:
            return {"gone": True}
        if not self.is_ready(channel, seconds):
            return {"timeout": True}
        try:
            packet = channel.recv(PACKET)
        except ConnectionResetError:
            packet = b""
        if packet:
            answer: dict[str, Any] = json.loads(packet)
            return answer
        self.actors.pop(task).close()
        return {"gone": True}

    def do_ask(self, task: int, message: dict[str, Any], seconds: float) -> dict[str, Any]:
        """Give an actor an order and wait for the answer."""
        return self.do_send(task, message) or self.do_receive(task, seconds)

    def do_kill(self, task: int, number: int) -> dict[str, Any]:
        """Send a signal."""
        os.kill(task, number)
        return {}

    def do_reap(self, task: int, seconds: float) -> dict[str, Any]:
        """Wait for the end of an actor that the agent started; its status as wait(2) has it."""
        pidfd = os.pidfd_open(task)
        try:
            if not self.is_ready(pidfd, seconds):
                return {"timeout": True}
        finally:
            os.close(pidfd)
        if task in self.actors:
            self.actors.pop(task).close()
        self.children.discard(task)
        return {"status": os.waitpid(task, 0)[1]}

    def do_dismiss(self, seconds: float) -> dict[str, Any]:
        """End all actors, and wait for those that the agent started."""
        for task in {*self.actors, *self.children}:
            with contextlib.suppress(ProcessLookupError):
                os.kill(task, signal.SIGKILL)
        for channel in self.actors.values():
            channel.close()
        self.actors.clear()
        for task in [*self.children]:
            self.do_reap(task, seconds)
        return {}

    def do_read(self, path: str) -> dict[str, Any]:
        """What a file says."""
        with open(path, encoding="utf-8", errors="replace") as file:
            return {"text": file.read()}

    def do_list(self, path: str) -> dict[str, Any]:
        """What is in a folder."""
        return {"names": os.listdir(path)}

    def do_kmsg(self, seconds: float, most: int, go_on: bool) -> dict[str, Any]:
        """Records of the kernel log that were not yet read, at most so many.

        Waits for the first one so long. A reader that fell behind gets EPIPE
        and goes on with the oldest record there is: the gap shows it. There
        are more if there were at the first of these requests: to read can
        itself be logged, and would have no end.
        """
        if not go_on:
            os.lseek(self.tail, 0, os.SEEK_END)
            self.end = None
        records: list[str] = []
        while len(records) < most:
            try:
                records.append(os.read(self.kmsg, RECORD).decode("utf-8", "replace"))
            except BlockingIOError:
                if records or not self.is_ready(self.kmsg, seconds):
                    break
            except BrokenPipeError:
                continue
        return {"records": records, "more": len(records) == most and not self.is_past(records[-1])}

    def is_past(self, record: str) -> bool:
        """Whether a record was logged after the first of these requests."""
        while self.end is None:
            try:
                self.end = sequence(os.read(self.tail, RECORD).decode("utf-8", "replace"))
            except BlockingIOError:
                return False
            except BrokenPipeError:
                continue
        return sequence(record) >= self.end

    def run(self) -> None:
        """Answer requests until there are no more; in between, show that the guest lives."""
        waiting = b""
        while True:
            if not self.is_ready(sys.stdin, TICK_SECONDS):
                self.say({"tick": time.monotonic()})
                continue
            data = os.read(sys.stdin.fileno(), PACKET)
            if not data:
                return
            *lines, waiting = (waiting + data).split(b"\n")
            for line in lines:
                request = json.loads(line)
                self.say({"id": request.pop("id"), **self.answer(request)})

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Do what is asked."""
        try:
            answer: dict[str, Any] = getattr(self, "do_" + request.pop("do"))(**request)
        except Exception as error:  # all others that act here depend on the agent
            answer = {"error": f"{type(error).__name__}: {error}"}
        return answer


def sequence(record: str) -> int:
    """The number of a record of the kernel log: "6,339,5140900,-;text"."""
    return int(record.split(",", 2)[1])


# ---- a command, held before its first instruction ----


def launch(address: str, argv: list[str]) -> None:
    """Run a command, let go when the agent says so; exit as it exits."""
    child = os.fork()
    if not child:
        os.setpgid(0, 0)
        LIBC.ptrace(PTRACE_TRACEME, 0, 0, 0)
        try:
            os.execvp(argv[0], argv)
        except OSError as error:
            sys.stderr.write(f"{argv[0]}: {error.strerror}\n")
            sys.stderr.flush()
            os._exit(127 if isinstance(error, FileNotFoundError) else 126)
    _, status = os.waitpid(child, 0)
    if os.WIFSTOPPED(status):
        status = hold(bytes.fromhex(address), child)
    if os.WIFSIGNALED(status):
        sys.exit(128 + os.WTERMSIG(status))
    sys.exit(os.WEXITSTATUS(status))


def hold(address: bytes, child: int) -> int:
    """Let a child go when the agent says so, end it when the agent is gone; its status."""
    meeting = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    meeting.connect(address)
    tell(meeting, {"task": child, "process": None})
    go = meeting.recv(PACKET)
    if go:
        LIBC.ptrace(PTRACE_DETACH, child, 0, 0)
        pidfd = os.pidfd_open(child)
        ready, _, _ = select.select([pidfd, meeting.fileno()], [], [])
    if not go or pidfd not in ready:
        os.killpg(child, signal.SIGKILL)
    return os.waitpid(child, 0)[1]


if __name__ == "__main__":
    if sys.argv[1:2] == ["launch"]:
        launch(sys.argv[2], sys.argv[3:])
    else:
        # Whatever is watched must not keep the watcher, and the sshd that it speaks through, from
        # a CPU; what these start is like any other. They are no real-time tasks: after the host
        # was suspended the kernel takes its clock's leap for the time of the one that ran just
        # then, and keeps all of them from the CPU for as long.
        for process in (os.getpid(), os.getppid()):
            os.setpriority(os.PRIO_PROCESS, process, -20)
            os.sched_setscheduler(
                process, os.SCHED_OTHER | os.SCHED_RESET_ON_FORK, os.sched_param(0)
            )
            # A session has a priority of its own, where the kernel groups tasks by sessions.
            with contextlib.suppress(OSError), open(f"/proc/{process}/autogroup", "w") as group:
                group.write("-20")
        Agent().run()
