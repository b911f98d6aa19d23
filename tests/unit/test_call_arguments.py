# SPDX-License-Identifier: GPL-2.0
"""How trace shows the arguments of system calls; needs no guest.

What the kernels and the headers of guests say is made up here; that it is so in guests is a test of
tests/harness/test_trace_arguments.py.
"""

import os
import re
import stat
from functools import reduce
from operator import or_

import hypothesis_profile  # noqa: F401
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyharness.interceptor.traced import line
from pyharness.interceptor.traced_call import TracedCall
from pyharness.linux import argument_names, prototypes
from pyharness.linux.argument_names import TAKEN
from pyharness.linux.call_arguments import CallArguments, registers
from pyharness.linux.constants import Constants
from pyharness.linux.prototypes import Parameter
from pyharness.linux.signal_names import SIGNALS
from pyharness.linux.syscalls import SyscallRef, Syscalls

AMD64, I386, ARM64 = Syscalls("x86_64"), Syscalls("i386"), Syscalls("arm64")
FIELD = "\tfield:{} {};\toffset:16;\tsize:8;\tsigned:0;"
# A function and its parameters, as a kernel describes them.
KERNEL = """
access: const char * filename, int mode
clone: unsigned long clone_flags, unsigned long newsp, int * parent_tidptr, int * child_tidptr
clock_nanosleep: const clockid_t which_clock, int flags, const struct timespec * rqtp
close: unsigned int fd
chown: const char * filename, uid_t user, gid_t group
fork:
futex: u32 * uaddr, int op, u32 val
ia32_readahead: int fd, unsigned int off_lo, unsigned int off_hi, size_t count
ioctl: unsigned int fd, unsigned int cmd, unsigned long arg
kill: pid_t pid, int sig
lseek: unsigned int fd, off_t offset, unsigned int whence
mkdir: const char * pathname, umode_t mode
mknod: const char * filename, umode_t mode, unsigned int dev
mknodat: int dfd, const char * filename, umode_t mode, unsigned int dev
mmap: unsigned long addr, unsigned long len, unsigned long prot, unsigned long flags, unsigned long fd, unsigned long off
mmap_pgoff: unsigned long addr, unsigned long len, unsigned long prot, unsigned long flags, unsigned long fd, unsigned long pgoff
newstat: const char * filename, struct stat * statbuf
oldumount: char * name
openat: int dfd, const char * filename, int flags, umode_t mode
pread64: unsigned int fd, char * buf, size_t count, loff_t pos
read: unsigned int fd, char * buf, size_t count
rt_sigaction: int sig, const struct sigaction * act, struct sigaction * oact, size_t sigsetsize
semget: key_t key, int nsems, int semflg
setitimer: unknown_t which, struct itimer * value
shmget: key_t key, size_t size, int shmflg
socket: int family, int type, int protocol
stat: const char * filename, struct old * statbuf
umask: int mask
umount: char * name, int flags
wait4: pid_t upid, int * stat_addr, int options, struct rusage * ru
"""  # noqa: E501
HEADERS = """
#define __STDC__ 1
#define O_ACCMODE 00000003
#define O_RDONLY 00000000
#define O_WRONLY 00000001
#define O_RDWR 00000002
#define O_CREAT 00000100
#define O_EXCL 00000200
#define O_TRUNC 00001000
#define O_NONBLOCK 00004000
#define O_DSYNC 00010000
#define O_DIRECT {direct}
#define O_DIRECTORY {directory}
#define O_CLOEXEC 02000000
#define FASYNC 00020000
#define O_NOFOLLOW {nofollow}
#define O_LARGEFILE {largefile}
#define O_PATH 010000000
#define __O_SYNC 04000000
#define O_SYNC (__O_SYNC|O_DSYNC)
#define __O_TMPFILE 020000000
#define O_TMPFILE (__O_TMPFILE | O_DIRECTORY)
#define O_NDELAY O_NONBLOCK
#define AT_FDCWD -100
#define R_OK 4
#define W_OK 2
#define X_OK 1
#define F_OK 0
#define PROT_READ 0x1
#define PROT_WRITE 0x2
#define PROT_NONE 0x0
#define MAP_TYPE 0x0f
#define MAP_FILE 0
#define MAP_FIXED 0x10
#define MAP_ANONYMOUS 0x20
#define MAP_GROWSDOWN 0x0100
#define MAP_LOCKED 0x2000
#define MAP_NORESERVE 0x4000
#define MAP_POPULATE 0x8000
#define MAP_HUGETLB 0x040000
#define MAP_UNINITIALIZED 0x4000000
#define MAP_SHARED 0x01
#define MAP_PRIVATE 0x02
#define MAP_SHARED_VALIDATE 0x03
#define MAP_HUGE_SHIFT 26
#define MAP_HUGE_2MB (21U << MAP_HUGE_SHIFT)
#define CSIGNAL 0x000000ff
#define CLONE_VM 0x00000100
#define CLONE_CHILD_CLEARTID 0x00200000
#define CLONE_CHILD_SETTID 0x01000000
#define CLONE_CLEAR_SIGHAND 0x100000000ULL
#define CLONE_NEWTIME 0x00000080
#define SIGABRT 6
#define SIGIOT 6
#define SIGKILL 9
#define SIGCHLD 17
#define SIGRTMIN 32
#define SIGSTKSZ 8192
#define CLOCK_REALTIME 0
#define CLOCK_MONOTONIC 1
#define SEEK_SET 0
#define SEEK_END 2
#define WNOHANG 0x00000001
#define WUNTRACED 0x00000002
#define WSTOPPED WUNTRACED
#define WEXITED 0x00000004
#define __WALL 0x40000000
#define __WCLONE 0x80000000
#define FUTEX_WAIT 0
#define FUTEX_WAKE 1
#define FUTEX_PRIVATE_FLAG 128
#define FUTEX_CLOCK_REALTIME 256
#define FUTEX_WAIT_PRIVATE (FUTEX_WAIT | FUTEX_PRIVATE_FLAG)
enum __socket_type
{{
  SOCK_STREAM = 1,
#define SOCK_STREAM SOCK_STREAM
  SOCK_DGRAM = 2,
#define SOCK_DGRAM SOCK_DGRAM
  SOCK_CLOEXEC = 02000000,
#define SOCK_CLOEXEC SOCK_CLOEXEC
  SOCK_NONBLOCK = 00004000
#define SOCK_NONBLOCK SOCK_NONBLOCK
}};
#define PF_UNIX 1
#define AF_LOCAL PF_UNIX
#define AF_UNIX PF_UNIX
#define IPC_CREAT 00001000
#define IPC_EXCL 00002000
#define IPC_NOWAIT 00004000
#define IPC_PRIVATE ((__kernel_key_t) 0)
#define SHM_R 0400
#define SHM_HUGETLB 04000
#define SIG_DFL ((__sighandler_t)0)
#define SIG_BLOCK 0
"""
X86_HEADERS = Constants(
    HEADERS.format(
        direct="00040000", largefile="0100000", directory="00200000", nofollow="00400000"
    ).splitlines()
)
ARM64_HEADERS = Constants(
    HEADERS.format(
        directory="040000", nofollow="0100000", direct="0200000", largefile="0400000"
    ).splitlines()
)


def described(*functions: str) -> list[str]:
    """The descriptions of functions, as the files in tracefs have them."""
    lines = []
    for function in functions:
        name, _, parameters = function.partition(":")
        fields = ["unsigned short common_type", "int __syscall_nr", *parameters.split(",")]
        lines += [f"name: sys_enter_{name}", "ID: 631", "format:"]
        lines += [FIELD.format(*field.strip().rsplit(" ", 1)) for field in fields if field.strip()]
        lines += ["", 'print fmt: "dfd: 0x%08lx, flags: 0x%08lx", REC->dfd, REC->flags']
    return lines


FUNCTIONS = prototypes.parse(described(*KERNEL.strip().splitlines()))
CALLS = {
    AMD64: CallArguments(FUNCTIONS, X86_HEADERS),
    I386: CallArguments(FUNCTIONS, X86_HEADERS),
    ARM64: CallArguments(FUNCTIONS, ARM64_HEADERS),
}


def shown(call: str, *args: int, of: Syscalls = AMD64) -> str:
    """The call as it is shown, after registers that it does not use."""
    ref = of.ref(call)
    registers_ = (*args, *[0x1234] * 6)[:6]
    return f"{ref}({', '.join(CALLS[of](ref, registers_))})"


# ---- what the kernel describes ----


def test_the_parameters_that_a_kernel_describes() -> None:
    assert FUNCTIONS["fork"] == ()
    assert FUNCTIONS["openat"] == (
        Parameter("int", "dfd"),
        Parameter("char *", "filename"),
        Parameter("int", "flags"),
        Parameter("umode_t", "mode"),
    )


def test_a_copy_of_a_string_is_no_parameter() -> None:
    lines = described("mkdir: const char * pathname, umode_t mode, __data_loc char[] __pathname")
    assert prototypes.parse(lines)["mkdir"] == FUNCTIONS["mkdir"]


@pytest.mark.parametrize(
    ("call", "function"),
    [
        ("openat", "openat"),
        ("mmap2", "mmap_pgoff"),
        ("stat", "newstat"),  # i386 has the older function as oldstat
        ("umount", "oldumount"),
        ("umount2", "umount"),
        ("readahead", "ia32_readahead"),
        ("oldstat", None),
        ("clock_nanosleep_time64", "clock_nanosleep"),
        ("madvise", None),
    ],
)
def test_the_function_of_a_call(call: str, function: str | None) -> None:
    assert prototypes.function(call, FUNCTIONS) == function


def test_the_functions_of_users_in_32_bits() -> None:
    """i386's getuid is about users in 16 bits, and getuid32 the one that the others have."""
    assert prototypes.functions("chown").index("chown16") < prototypes.functions("chown").index(
        "chown"
    )
    assert "chown" in prototypes.functions("chown32")
    assert "clock_gettime" in prototypes.functions("clock_gettime64")


# ---- constants ----


def test_constants_of_headers() -> None:
    assert X86_HEADERS["O_SYNC"] == 0o4010000
    assert X86_HEADERS["MAP_HUGE_2MB"] == 21 << 26
    assert X86_HEADERS["CLONE_CLEAR_SIGHAND"] == 1 << 32
    assert X86_HEADERS["AT_FDCWD"] == -100
    assert X86_HEADERS["SOCK_STREAM"] == 1
    assert "SIG_DFL" not in X86_HEADERS
    assert [*X86_HEADERS].index("O_NONBLOCK") < [*X86_HEADERS].index("O_NDELAY")


@pytest.mark.parametrize(
    "value",
    ["LOOP", "OTHER", "1 << 4096", "1 << -1", "f(1)", "1.5", '"a"', "08", "(" * 500, "~", "True"],
)
def test_what_is_no_constant_is_left_out(value: str) -> None:
    lines = [f"#define LOOP {value}", "#define OTHER LOOP", "#define ONE 1", "#define F(a) a"]
    assert dict(Constants(lines)) == {"ONE": 1}


def test_constants_of_constants_are_calculated_once() -> None:
    lines = ["#define A0 1", *(f"#define A{n} A{n - 1} + A{n - 1}" for n in range(1, 200))]
    assert len(Constants(lines)) == 64  # those of more bits are none


@given(st.lists(st.text()))
def test_any_text_has_constants_or_none(lines: list[str]) -> None:
    Constants([*lines, *(f"#define A {text}" for text in lines)])
    prototypes.parse(lines)


# ---- calls ----


@pytest.mark.parametrize(
    ("call", "args", "text"),
    [
        ("fork", (), "fork()"),
        ("close", (0xFFFFFFFF,), "close(-1)"),
        ("read", (3, 0, 4096), "read(3, NULL, 4096)"),
        ("read", (3, 0x7FFC0, (1 << 64) - 1), "read(3, 0x7ffc0, 18446744073709551615)"),
        ("mkdir", (0xBF8E3A10, 0o777), "mkdir(0xbf8e3a10, 0777)"),
        ("mkdir", (0xBF8E3A10, 0), "mkdir(0xbf8e3a10, 000)"),
        ("mknod", (1, 0o10644, 5), "mknod(0x1, S_IFIFO|0644)"),
        ("mknod", (1, 0o20600, 0x12345678), "mknod(0x1, S_IFCHR|0600, makedev(0x456, 0x12378))"),
        ("mknod", (1, 0o60000, 0x500), "mknod(0x1, S_IFBLK|000, makedev(0x5, 0))"),
        ("mknod", (1, 0o7777, 0), "mknod(0x1, S_ISUID|S_ISGID|S_ISVTX|0777)"),
        ("mknod", (1, 0o16755, 0), "mknod(0x1, S_IFIFO|S_ISUID|S_ISGID|0755)"),
        ("mknod", (1, 0xF0000 | 0o170644, 0), "mknod(0x1, 0170644)"),
        ("mknodat", (0xFFFFFF9C, 1, 0o100644, 0), "mknodat(AT_FDCWD, 0x1, S_IFREG|0644)"),
        ("umask", (0o22,), "umask(022)"),
        ("umask", (0,), "umask(000)"),
        ("semget", (0, 1, 0o7600), "semget(IPC_PRIVATE, 1, IPC_CREAT|IPC_EXCL|IPC_NOWAIT|0600)"),
        ("shmget", (0x5E, 1, 0), "shmget(0x5e, 1, 000)"),
        ("shmget", (1, 1, 0o14666), "shmget(0x1, 1, SHM_HUGETLB|0x1000|0666)"),
        ("kill", (0xFFFFFFFF, 9), "kill(-1, SIGKILL)"),
        ("kill", (1207, 6), "kill(1207, SIGABRT)"),
        ("kill", (1207, 0), "kill(1207, 0)"),
        ("kill", (1207, 32), "kill(1207, SIGRTMIN)"),
        ("kill", (1207, 34), "kill(1207, SIGRT_2)"),
        ("kill", (1207, 64), "kill(1207, SIGRT_32)"),
        ("kill", (1207, 65), "kill(1207, 65)"),
        ("kill", (1207, 8192), "kill(1207, 8192)"),
        ("rt_sigaction", (17, 1, 0, 8), "rt_sigaction(SIGCHLD, 0x1, NULL, 8)"),
        ("lseek", (3, (1 << 64) - 5, 2), "lseek(3, -5, SEEK_END)"),
        ("clock_nanosleep", (1, 0, 2), "clock_nanosleep(CLOCK_MONOTONIC, 0, 0x2)"),
        ("clock_nanosleep", (0xFFFFFFFA, 0, 2), "clock_nanosleep(-6, 0, 0x2)"),
        ("lseek", (3, 0, 9), "lseek(3, 0, 9)"),
        ("chown", (1, 1000, 0xFFFFFFFF), "chown(0x1, 1000, -1)"),
        ("ioctl", (0, 0x5401, 0x7FFC0), "ioctl(0, 0x5401, 0x7ffc0)"),
        ("pread64", (3, 1, 2, (1 << 64) - 1), "pread64(3, 0x1, 2, -1)"),
        ("stat", (1, 2), "stat(0x1, 0x2)"),
        ("umount2", (1, 0), "umount2(0x1, 0)"),
        ("setitimer", (7, 0), "setitimer(0x7, NULL)"),
        ("wait4", (0xFFFFFFFF, 0, 0x80000001, 0), "wait4(-1, NULL, WNOHANG|__WCLONE, NULL)"),
        ("wait4", (5, 0, 0x40, 0), "wait4(5, NULL, 0x40, NULL)"),
        (
            "wait4",
            (5, 0, 0xC0000007, 0),
            "wait4(5, NULL, {}, NULL)".format("WNOHANG|WEXITED|WSTOPPED|__WCLONE|__WALL"),
        ),
        ("access", (1, 0), "access(0x1, F_OK)"),
        ("access", (1, 5), "access(0x1, R_OK|X_OK)"),
        ("access", (1, 15), "access(0x1, R_OK|W_OK|X_OK|0x8)"),
        ("socket", (1, 0o2000001, 0), "socket(AF_UNIX, SOCK_STREAM|SOCK_CLOEXEC, 0)"),
        ("socket", (1, 0o2004002, 0), "socket(AF_UNIX, SOCK_DGRAM|SOCK_CLOEXEC|SOCK_NONBLOCK, 0)"),
        ("socket", (77, 9, 0), "socket(77, 9, 0)"),
        ("futex", (16, 0x180, 2), "futex(0x10, FUTEX_WAIT_PRIVATE|FUTEX_CLOCK_REALTIME, 2)"),
        (
            "mmap",
            (0, 8192, 3, 0x22, 0xFFFFFFFF, 0),
            "mmap(NULL, 8192, PROT_READ|PROT_WRITE, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0)",
        ),
        (
            "mmap",
            (0, 1, 3, 0xE122, 3, 0),
            "mmap(NULL, 1, PROT_READ|PROT_WRITE, MAP_PRIVATE|MAP_ANONYMOUS|MAP_NORESERVE"
            "|MAP_POPULATE|MAP_GROWSDOWN|MAP_LOCKED, 3, 0)",
        ),
        (
            "mmap",
            (0x7F00, 1, 0, 0x15 | 21 << 26, 3, 0x1000),
            "mmap(0x7f00, 1, PROT_NONE, MAP_FIXED|0x54000005, 3, 0x1000)",
        ),
        (
            "clone",
            (0x1200011, 0, 0, 1),
            "clone(CLONE_CHILD_CLEARTID|CLONE_CHILD_SETTID|SIGCHLD, NULL, NULL, 0x1)",
        ),
        ("clone", (0x122, 0, 0, 0), "clone(CLONE_VM|SIGRT_2, NULL, NULL, NULL)"),
        ("clone", (0x180, 0, 0, 0), "clone(CLONE_VM|0x80, NULL, NULL, NULL)"),
    ],
)
def test_a_call_as_strace_shows_it(call: str, args: tuple[int, ...], text: str) -> None:
    assert shown(call, *args) == text


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (0, "O_RDONLY"),
        (0o2000000, "O_RDONLY|O_CLOEXEC"),
        (0o200000, "O_RDONLY|O_DIRECTORY"),
        (0o4010001, "O_WRONLY|O_SYNC"),
        (0o10001, "O_WRONLY|O_DSYNC"),
        (0o4000003, "O_ACCMODE|__O_SYNC"),
        (0o4000, "O_RDONLY|O_NONBLOCK"),
        (0x40000000, "O_RDONLY|0x40000000"),
        (0o1101, "O_WRONLY|O_CREAT|O_TRUNC"),
        (0o20200002, "O_RDWR|O_TMPFILE"),
        (0o16010300, "O_RDONLY|O_CREAT|O_EXCL|O_SYNC|O_CLOEXEC|O_PATH"),
        (0o2620000, "O_RDONLY|O_NOFOLLOW|O_CLOEXEC|O_DIRECTORY|FASYNC"),
    ],
)
def test_flags_of_open(flags: int, text: str) -> None:
    mode = ", 0644" if flags & 0o20000100 else ""
    assert shown("openat", 0xFFFFFF9C, 1, flags, 0o644) == f"openat(AT_FDCWD, 0x1, {text}{mode})"
    assert shown("openat", 3, 1, flags, 0o644) == f"openat(3, 0x1, {text}{mode})"


def test_flags_are_those_of_the_guests_architecture() -> None:
    assert shown("openat", 3, 1, 0o40000, of=ARM64) == "openat(3, 0x1, O_RDONLY|O_DIRECTORY)"
    assert shown("openat", 3, 1, 0o40000, of=AMD64) == "openat(3, 0x1, O_RDONLY|O_DIRECT)"


@pytest.mark.parametrize("syscalls", CALLS, ids=lambda syscalls: syscalls.architecture)
def test_the_order_of_flags_is_the_same_whatever_their_values(syscalls: Syscalls) -> None:
    names = ["O_DIRECT", "O_LARGEFILE", "O_NOFOLLOW", "O_CLOEXEC", "O_PATH", "O_DIRECTORY"]
    constants = ARM64_HEADERS if syscalls is ARM64 else X86_HEADERS
    flags = sum(constants[name] for name in names)
    text = "|".join(["O_RDONLY", *names])
    assert shown("openat", 3, 1, flags, of=syscalls) == f"openat(3, 0x1, {text})"


def test_a_type_has_the_size_that_the_kernel_reads() -> None:
    """The upper half of a register does not matter where the kernel reads an int."""
    upper = 0xABCD << 32
    assert shown("kill", upper | 5, upper | 9) == "kill(5, SIGKILL)"
    assert shown("openat", upper | 0xFFFFFF9C, 1, upper).startswith("openat(AT_FDCWD, 0x1, O_RDO")
    assert shown("mkdir", 1, 0xF0000 | 0o755) == "mkdir(0x1, 0755)"


def test_a_call_of_i386() -> None:
    assert shown("mmap2", 0, 4096, 1, 2, 3, 0x10, of=I386) == (
        "mmap2(NULL, 4096, PROT_READ, MAP_PRIVATE, 3, 0x10)"
    )
    assert shown("lseek", 3, 0xFFFFFFFF, 0, of=I386) == "lseek(3, -1, SEEK_SET)"
    assert shown("umount", 1, of=I386) == "umount(0x1)"


@pytest.mark.parametrize(
    ("ref", "reason"),
    [
        (AMD64.ref("madvise"), "the kernel does not describe it"),
        (AMD64.ref("i386:openat"), "the kernel describes calls of its own ABI alone"),
        (SyscallRef(9999, "x86_64"), "no call has the number"),
        (I386.ref("pread64"), "its 64-bit argument is in two registers"),
    ],
)
def test_registers_are_shown_where(ref: SyscallRef, reason: str) -> None:
    args = (3, 0, 0, 0x10, 0, 0xFF)
    assert CALLS[AMD64](ref, args) == ["0x3", "0x0", "0x0", "0x10", "0x0", "0xff"], reason


def test_flags_are_numbers_where_the_guest_has_no_headers() -> None:
    bare = CallArguments(FUNCTIONS, {})
    args = (0xFFFFFF9C, 1, 0o100, 0o644, 0, 0)
    assert bare(AMD64.ref("openat"), args) == ["-100", "0x1", "0x40", "0644"]
    assert bare(AMD64.ref("kill"), (1, 9, 0, 0, 0, 0)) == ["1", "SIGKILL"]
    assert bare(AMD64.ref("clone"), (17, 1, 0, 0, 0, 0)) == ["SIGCHLD", "0x1", "NULL", "NULL"]
    assert bare(AMD64.ref("clone"), (0x111, 1, 0, 0, 0, 0))[0] == "0x111"


def test_a_line_shows_registers_or_arguments() -> None:
    call = TracedCall(
        thread=7,
        process=7,
        program="sh",
        syscall=AMD64.ref("kill"),
        args=(5, 9, 0, 0, 0, 1),
        microseconds=0,
        result="0",
    )
    assert line(call) == "[7] kill(0x5, 0x9, 0x0, 0x0, 0x0, 0x1) = 0" == str(call)
    assert line(call, shown=registers) == str(call)
    assert line(call, shown=CALLS[AMD64]) == "[7] kill(5, SIGKILL) = 0"


# ---- no bit is lost ----

BITS = {"int": 32, "unsigned int": 32, "u32": 32, "pid_t": 32, "uid_t": 32, "gid_t": 32}
BITS |= {"clockid_t": 32, "key_t": 32, "umode_t": 16}
# Any number, and such as have names.
NUMBERS = st.integers(0, (1 << 64) - 1) | st.builds(
    lambda names, more: reduce(or_, (X86_HEADERS[name] for name in names), more) % (1 << 64),
    st.lists(st.sampled_from([*X86_HEADERS]), max_size=5),
    st.sampled_from([0, 0, 1, 1 << 30, 1 << 31, 1 << 63]),
)


def number(text: str, constants: Constants) -> int:
    """The value that an argument's text stands for; its parts have no bit in common."""
    if text == "NULL":
        return 0
    if text.startswith("makedev"):
        return os.makedev(*(int(part, 0) for part in re.findall(r"\w+(?=[,)])", text)))
    text = re.sub(r"\b0+([0-7]+)$", r"0o\1", text)  # as Python has octal numbers
    known = {
        **vars(stat),
        "IPC_PRIVATE": 0,
        **constants,
        **{name: value for value, name in SIGNALS.items()},
    }
    values = [known[part] if part in known else int(part, 0) for part in text.split("|")]
    assert len(values) == 1 or sum(values) == reduce(or_, values)
    return sum(values)


@pytest.mark.parametrize("syscalls", CALLS, ids=lambda syscalls: syscalls.architecture)
@given(data=st.data())
def test_the_text_has_all_bits_that_the_kernel_reads(
    syscalls: Syscalls, data: st.DataObject
) -> None:
    long_bits = 8 * syscalls.bytes_of_long
    name = data.draw(st.sampled_from([name for name in FUNCTIONS if name in syscalls.numbers]))
    args = [data.draw(NUMBERS) % (1 << long_bits) for _ in range(6)]
    calls = CALLS[syscalls]
    constants = ARM64_HEADERS if syscalls is ARM64 else X86_HEADERS
    texts = calls(syscalls.ref(name), args)
    function = prototypes.function(name, FUNCTIONS)
    assert function
    for text, arg, parameter in zip(texts, args, FUNCTIONS[function], strict=False):
        size = 32 if parameter.name == "fd" else BITS.get(parameter.type, long_bits)
        assert (number(text, constants) - arg) % (1 << size) == 0, (name, parameter, text)


# One parameter for each set of names.
@pytest.mark.parametrize("taker", {names: taker for taker, names in TAKEN.items()}.values())
@given(value=NUMBERS)
def test_names_have_all_bits_of_the_value(taker: str, value: int) -> None:
    function, parameter = taker.split(".")
    named = argument_names.of(function, parameter, X86_HEADERS)
    assert named
    text = named(value)
    assert text is None or number(text, X86_HEADERS) == value
