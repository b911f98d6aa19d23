# SPDX-License-Identifier: GPL-2.0
"""The program that runs in the guest: the agent, and the actors that carry out orders.

It needs the guest's Python (3.9 or later), its standard library, and the module's
interceptorctl as a library::

    agent.py                        serve: JSON lines on standard input and output
    agent.py launch ADDRESS COMMAND start COMMAND, held before its first instruction

An actor is a process or thread that reads an order from its own socket, carries it out, answers,
and waits for the next one. The agent identifies each by its thread id (see gettid()), starts those
that no other actor forks or starts as a thread, and passes on orders and answers. The sockets are
of type SOCK_SEQPACKET: each message is one packet.
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
from collections.abc import Callable, Iterator
from typing import Any

import interceptorctl

PACKET = 1 << 17  # bytes that the largest message fits into
RECORD = 1 << 13  # bytes that the largest record of /dev/kmsg fits into
LIBC = interceptorctl.LIBC
PTRACE_TRACEME, PTRACE_DETACH = 0, 17
PR_SET_PDEATHSIG = 1
TICK_SECONDS = 1.0  # between two signs of life
ENDING = (signal.SIGHUP, signal.SIGTERM)  # signals by which the agent ends as it should


# ---- an actor's side ----

# The sockets of all actors of this process. The agent sees that an actor has ended when its socket
# is closed, so a forked child must not keep its parent's sockets open.
CHANNELS: list[socket.socket] = []


def join(address: bytes) -> None:
    """Become an actor: connect to the agent at this address, then carry out its orders."""
    meeting = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    meeting.connect(address)
    CHANNELS.append(meeting)
    tell(meeting, {"task": threading.get_native_id(), "process": os.getpid()})
    serve(meeting, address)


def detach() -> None:
    """Have no standard stream of the agent's: its input are requests, its output the answers.

    What an actor writes to its standard error could not be read, either, and would fill the window
    of the SSH channel, which the answers need.
    """
    null = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):
        os.dup2(null, stream)
    os.close(null)


def tell(channel: socket.socket, message: dict[str, Any]) -> None:
    """Send a message as one packet."""
    channel.send(json.dumps(message).encode())


def serve(channel: socket.socket, address: bytes) -> None:
    """Carry out orders until the agent is gone, then end the process."""
    actor = Actor(address)
    while True:
        packet = channel.recv(PACKET)
        if not packet:
            os._exit(0)
        try:
            order = json.loads(packet)
            answer = getattr(actor, order.pop("do"))(**order)
        except Exception as error:  # a failed order must not end the actor
            answer = {"error": described(error)}
        tell(channel, answer)
        if answer.get("leave"):
            channel.close()
            LIBC.syscall(ctypes.c_long(answer["leave"]), ctypes.c_long(0))


def described(error: Exception) -> str:
    """Return an error in one line. An OSError's text needs no type before it."""
    return str(error) if isinstance(error, OSError) else f"{type(error).__name__}: {error}"


class Actor:
    """The orders of an actor: each method is one, and its result is the answer's JSON object."""

    def __init__(self, address: bytes) -> None:
        """Keep the agent's address, to which forked children and threads connect."""
        self.address = address

    def syscall(
        self, number: int, args: list[Any], repeat: int = 1, abi: str = "", fail_nth: int = 0
    ) -> dict[str, Any]:
        """Issue a system call, and answer with the result of its last repetition.

        Args:
            number: the number of the system call.
            args: numbers, and descriptions of buffers, whose addresses are passed.
            repeat: how many times to issue it, with the same buffers.
            abi: ``i386`` for int 0x80 on amd64; empty for the kernel's own ABI.
            fail_nth: the number of the fault that the kernel injects into the call, counted from
                1; 0 for none. The answer then says whether there were so many.
        """
        fault = Fault(fail_nth) if fail_nth else None
        with (low_buffers if abi else high_buffers)(args) as buffers:
            where = [None if buffer is None else ctypes.addressof(buffer) for buffer in buffers]
            values = [arg if at is None else at for arg, at in zip(args, where)]
            if fault:
                fault.arm()
            value, error = (int80 if abi else call)(number, values, repeat)
            injected = fault is not None and fault.disarm()
            outputs = [
                binascii.b2a_base64(memoryview(buffer)[: arg["size"]], newline=False).decode()
                for arg, buffer in zip(args, buffers)
                if buffer is not None and arg["out"]
            ]
        return {
            "value": value,
            "errno": error,
            "where": where,
            "outputs": outputs,
            "injected": injected,
        }

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
        """Fork a child that is an actor as well."""
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
        """Start a thread that is an actor as well."""
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
        """Wait until a child has ended, and answer with its encoded status, as waitpid() has it."""
        return {"status": os.waitpid(pid, 0)[1]}

    def exit_group(self, code: int) -> None:
        """End the whole process."""
        os._exit(code)

    def exit_thread(self, number: int) -> dict[str, Any]:
        """Have serve() end this thread after the answer, by exit().

        Args:
            number: the number of the system call exit().
        """
        return {"leave": number}

    def execute(self, argv: list[str]) -> None:
        """Replace the program of this process by execv()."""
        replace(os.execv, argv)


def replace(execute: Callable[[str, list[str]], None], argv: list[str]) -> None:
    """Replace the program of this process, for which signals are as a shell has them.

    Python ignores some, and what is ignored stays so in the next program.

    Args:
        execute: os.execv or os.execvp.
        argv: the program's arguments, its own name the first.

    Raises:
        OSError: it can't be executed; this process goes on.
    """
    ignored = (signal.SIGPIPE, signal.SIGXFSZ)
    for number in ignored:  # not by signal.signal(), which is for the main thread alone
        LIBC.signal(number, signal.SIG_DFL)
    try:
        execute(argv[0], argv)
    finally:
        for number in ignored:
            LIBC.signal(number, signal.SIG_IGN)


class Fault:
    """A fault that the kernel injects into this thread: into its n-th request for memory, say.

    Documentation/fault-injection: such faults are counted in the thread's fail-nth, which the
    kernel counts down to 0.
    """

    def __init__(self, number: int) -> None:
        """Prepare the n-th fault; nothing is injected before arm()."""
        self.number = number
        self.file = os.open("/proc/thread-self/fail-nth", os.O_RDWR)

    def arm(self) -> None:
        """Have the kernel count from now on."""
        os.pwrite(self.file, b"%d" % self.number, 0)

    def disarm(self) -> bool:
        """Stop counting, and return whether the fault was injected."""
        left = int(os.pread(self.file, 16, 0))
        os.pwrite(self.file, b"0", 0)
        os.close(self.file)
        return left == 0


# ---- system calls, and the buffers that their arguments point to ----

MAP_32BIT = 0x40  # a flag of mmap() on amd64: map below 2 GiB
ALIGNED = 16  # bytes: the alignment of each buffer of low_buffers()


def call(number: int, values: list[int], repeat: int) -> tuple[int, int]:
    """Issue a system call by the C library's syscall(); return the last result and its errno."""
    words = [ctypes.c_long(value) for value in values]
    for _ in range(repeat):
        ctypes.set_errno(0)
        value = LIBC.syscall(ctypes.c_long(number), *words)
    return value, ctypes.get_errno() if value == -1 else 0


def int80(number: int, values: list[int], repeat: int) -> tuple[int, int]:
    """Issue a system call by int 0x80, the 32-bit ABI of an amd64 kernel, from a 64-bit process.

    Returns:
        The last call's result and errno.
    """
    result: tuple[int, int] = interceptorctl.int80(number, *values, repeat=repeat)
    return result


def content(arg: dict[str, Any]) -> bytes:
    """Return a buffer's content before the call: its data, padded with zeros to its size."""
    data = binascii.a2b_base64(arg["data"])
    return data + bytes(arg["size"] - len(data))


@contextlib.contextmanager
def high_buffers(args: list[Any]) -> Iterator[list[Any]]:
    """Yield, for each argument, the buffer that it describes, or None for a number."""
    yield [
        None if isinstance(arg, int) else ctypes.create_string_buffer(content(arg)) for arg in args
    ]


@contextlib.contextmanager
def low_buffers(args: list[Any]) -> Iterator[list[Any]]:
    """Yield, for each argument, the buffer that it describes, or None for a number.

    The buffers are at addresses below 2 GiB, which int 0x80 can pass. They are gone when the
    ``with`` block ends.
    """
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
            buffers.clear()  # mmap.close() fails while a ctypes object refers to the memory


def placed(memory: mmap.mmap, at: int, data: bytes) -> Any:
    """Return a ctypes buffer at an offset in mapped memory, with ``data`` copied into it."""
    buffer = (ctypes.c_char * len(data)).from_buffer(memory, at)
    ctypes.memmove(buffer, data, len(data))
    return buffer


# ---- the agent's side ----


class Agent:
    """Starts actors, passes orders to them and answers back, and reads the kernel log."""

    def __init__(self) -> None:
        """Listen on the socket that actors connect to, and open the kernel log.

        ``kmsg`` reads the log's records. ``tail`` is positioned at the log's end at the start of
        each read, and ``end`` is the number of the first record after that end.
        """
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
        """Wait until a file can be read, and send a sign of life each second meanwhile.

        Args:
            file: the file, socket or file descriptor.
            seconds: how long to wait.

        Returns:
            Whether it can be read.
        """
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
        """Send the host a line of JSON."""
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()

    def accept(self) -> int:
        """Accept the connection of an actor, or of ``launch``, and return its thread id.

        A process in a pid namespace of its own sends an id that means nothing here. The kernel
        gives the agent the right one, as the peer's credentials.
        """
        channel, _ = self.listener.accept()
        said = json.loads(channel.recv(PACKET))
        peer = channel.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        process = int.from_bytes(peer[:4], sys.byteorder)
        task: int = said["task"] if said["process"] in (process, None) else process
        self.actors[task] = channel
        return task

    def meet(self, task: int, seconds: float) -> None:
        """Wait until the actor with that thread id has connected.

        Raises:
            TimeoutError: it did not connect in time.
        """
        end = time.monotonic() + seconds
        self.forget_ended()  # one of them may have had this thread id
        while task not in self.actors:
            if not self.is_ready(self.listener, end - time.monotonic()):
                raise TimeoutError(f"task {task} did not come")
            self.accept()

    def forget_ended(self) -> None:
        """Close the sockets of actors that have ended, unless an answer is still to be read."""
        for task, channel in [*self.actors.items()]:
            try:
                ended = not channel.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
            except BlockingIOError:
                continue
            except ConnectionResetError:
                ended = True
            if ended:
                self.actors.pop(task).close()

    def do_hello(self) -> dict[str, Any]:
        """Answer with the agent's process id, and the address that launched commands connect to."""
        return {"address": self.address.hex(), "pid": os.getpid(), "python": sys.version.split()[0]}

    def do_spawn(self, user: str, seconds: float) -> dict[str, Any]:
        """Start an actor that runs as a user."""
        try:
            entry = pwd.getpwnam(user)
        except (KeyError, TypeError, ValueError):  # there is no such user, or it is no user's name
            return {"no_user": True}
        child = os.fork()
        if not child:
            try:
                os.setsid()
                os.initgroups(user, entry.pw_gid)
                os.setgid(entry.pw_gid)
                os.setuid(entry.pw_uid)
                LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
                for number in ENDING:
                    signal.signal(number, signal.SIG_DFL)
                detach()
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
        """Wait until an actor that another actor has forked, or started as a thread, connects."""
        self.meet(task, seconds)
        return {}

    def do_meet_next(self, seconds: float) -> dict[str, Any]:
        """Wait until any launched command connects, and answer with its process id."""
        self.forget_ended()
        if not self.is_ready(self.listener, seconds):
            return {"timeout": True}
        return {"task": self.accept()}

    def do_send(self, task: int, message: dict[str, Any]) -> dict[str, Any]:
        """Send an actor an order; do_receive() gets the actor's answer."""
        try:
            tell(self.actors[task], message)
        except (ConnectionError, KeyError):
            return {"gone": True}
        return {}

    def do_receive(self, task: int, seconds: float) -> dict[str, Any]:
        """Wait for an actor's answer, and pass it on; or answer that the actor is gone."""
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
        """Send an actor an order, wait for its answer, and pass that on."""
        return self.do_send(task, message) or self.do_receive(task, seconds)

    def do_kill(self, task: int, number: int) -> dict[str, Any]:
        """Send a process a signal; a negative id means a process group."""
        os.kill(task, number)
        return {}

    def do_reap(self, task: int, seconds: float) -> dict[str, Any]:
        """Wait until an actor that the agent started has ended.

        The answer has its wait status, as wait(2) encodes it.
        """
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
        """Kill all actors, and wait until those that the agent started have ended."""
        self.kill_actors()
        for task in [*self.children]:
            self.do_reap(task, seconds)
        return {}

    def kill_actors(self) -> None:
        """Kill all actors, after their sockets are closed: see hold()."""
        self.forget_ended()
        tasks = {*self.actors, *self.children}
        while self.actors:
            self.actors.popitem()[1].close()
        for task in tasks:
            with contextlib.suppress(ProcessLookupError):
                os.kill(task, signal.SIGKILL)

    def do_read(self, path: str) -> dict[str, Any]:
        """Answer with the text of a file."""
        with open(path, encoding="utf-8", errors="replace") as file:
            return {"text": file.read()}

    def do_list(self, path: str) -> dict[str, Any]:
        """Answer with the names in a folder."""
        return {"names": os.listdir(path)}

    def do_kmsg(self, seconds: float, most: int, go_on: bool) -> dict[str, Any]:
        """Answer with records of the kernel log that were not read yet.

        The host repeats the request, with ``go_on`` true, while the answer's ``more`` is true.
        The reading stops at the end that the log had at the first of these requests: the reading
        itself may be logged, and would otherwise have no end.

        A read of records that the kernel has overwritten fails with EPIPE, and the next one
        returns the oldest record that is left. The host sees the gap in the sequence numbers.

        Args:
            seconds: how long to wait for the first record.
            most: the largest number of records in the answer.
            go_on: whether this request continues the one before.
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
        """Return whether a record lies beyond the end that the log had at the first request.

        The first record that ``tail`` can read is the first one beyond that end. While it can
        read none, no record lies beyond.
        """
        while self.end is None:
            try:
                self.end = sequence(os.read(self.tail, RECORD).decode("utf-8", "replace"))
            except BlockingIOError:
                return False
            except BrokenPipeError:
                continue
        return sequence(record) >= self.end

    def run(self) -> None:
        """Answer requests until standard input ends, then end all actors.

        An actor sees by itself that the agent has ended, but not in a system call. The kernel
        kills those that the agent has started; it would kill one that an actor has forked at the
        end of that actor, which it may outlive.
        """
        for number in ENDING:
            signal.signal(number, lambda *_: sys.exit(1))
        try:
            self.serve()
        finally:
            self.kill_actors()

    def serve(self) -> None:
        """Answer requests until standard input ends; send a sign of life each idle second."""
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
        """Carry out a request, and return its answer."""
        try:
            answer: dict[str, Any] = getattr(self, "do_" + request.pop("do"))(**request)
        except Exception as error:  # the end of the agent would end all actors
            answer = {"error": f"{type(error).__name__}: {error}"}
        return answer


def sequence(record: str) -> int:
    """Return the sequence number of a record of /dev/kmsg: 339 of "6,339,5140900,-;text"."""
    return int(record.split(",", 2)[1])


# ---- a command, held before its first instruction ----


def launch(address: str, argv: list[str]) -> None:
    """Run a command, held before its first instruction until the agent lets it go.

    The process exits with the command's exit status, or with 128 plus the number of the signal
    that killed the command.
    """
    child = os.fork()
    if not child:
        os.setpgid(0, 0)
        LIBC.ptrace(PTRACE_TRACEME, 0, 0, 0)
        try:
            replace(os.execvp, argv)
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
    """Let a child go when the agent says so; kill it and its group if the agent closes the socket.

    Args:
        address: the agent's address.
        child: the process, stopped by ptrace.

    Returns:
        The child's wait status, as wait(2) encodes it.
    """
    meeting = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    meeting.connect(address)
    tell(meeting, {"task": child, "process": None})
    go = meeting.recv(PACKET)
    if go:
        LIBC.ptrace(PTRACE_DETACH, child, 0, 0)
        pidfd = os.pidfd_open(child)
        ready, _, _ = select.select([pidfd, meeting.fileno()], [], [])
    if not go or meeting.fileno() in ready:
        os.killpg(child, signal.SIGKILL)
    return os.waitpid(child, 0)[1]


if __name__ == "__main__":
    if sys.argv[1:2] == ["launch"]:
        launch(sys.argv[2], sys.argv[3:])
    else:
        # The processes under test must not keep the agent, or the sshd that it talks through, from
        # a CPU, so these two get the highest priority; their children do not inherit it. They are
        # not real-time tasks: when the clock leaps after the host was suspended, the kernel counts
        # the leap as run time of the current real-time task, and throttles all real-time tasks for
        # that long.
        for process in (os.getpid(), os.getppid()):
            os.setpriority(os.PRIO_PROCESS, process, -20)
            os.sched_setscheduler(
                process, os.SCHED_OTHER | os.SCHED_RESET_ON_FORK, os.sched_param(0)
            )
            # Where the kernel groups tasks by session (autogroup), the session has its own nice
            # value.
            with contextlib.suppress(OSError), open(f"/proc/{process}/autogroup", "w") as group:
                group.write("-20")
        Agent().run()
