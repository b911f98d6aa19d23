# SPDX-License-Identifier: GPL-2.0
"""The pure layer: log lines, records, kernel reports, the header, the status file, guests."""

import json
from pathlib import Path

import hypothesis_profile  # noqa: F401
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyharness import UsageError
from pyharness.errors import CheckFailed
from pyharness.host import bundled
from pyharness.interceptor import MODULE, Command, Intercepted, call_log, status
from pyharness.interceptor.interface import Interface
from pyharness.linux import cpio, kmsg
from pyharness.linux.syscalls import SyscallRef, Syscalls, errno_name
from pyharness.machine import guest_specs, image

I386 = Syscalls("i386")
WORD = st.integers(0, 2**64 - 1)


def line(pid: int, number: int, args: list[int]) -> str:
    return f"[{pid:x}]{number:x}({','.join(f'{arg:x}' for arg in args)})"


def record(text: str, level: int = kmsg.DEBUG, sequence: int = 0) -> kmsg.Record:
    return kmsg.Record(level, sequence, 0, text)


# ---- the log line ----


@given(st.integers(0, 2**32 - 1), WORD, st.lists(WORD, min_size=6, max_size=6))
def test_log_line_is_read_as_it_was_written(pid: int, number: int, args: list[int]) -> None:
    call = call_log.parse(record(line(pid, number, args)), I386)
    assert call
    assert (call.pid, call.syscall.number, call.args) == (pid, number, tuple(args))


@given(st.integers(0, 2**32 - 1), WORD, st.lists(WORD, min_size=6, max_size=6), st.data())
def test_part_of_a_log_line_is_none(
    pid: int, number: int, args: list[int], data: st.DataObject
) -> None:
    whole = line(pid, number, args)
    end = data.draw(st.integers(0, len(whole) - 1))
    assert call_log.parse(record(whole[:end]), I386) is None
    assert call_log.parse(record(whole[end + 1 :] if end else whole[1:]), I386) is None


@given(st.text(min_size=1).filter(lambda text: text.strip("0123456789abcdef")), st.data())
def test_log_line_with_something_in_it_is_none(noise: str, data: st.DataObject) -> None:
    whole = line(1, 39, [1, 2, 3, 4, 5, 6])
    at = data.draw(st.integers(0, len(whole)))
    assert call_log.parse(record(whole[:at] + noise + whole[at:]), I386) is None


def test_log_line_of_the_32_bit_abi() -> None:
    """It has numbers of its own; the ABI's name stands behind the line, whole."""
    text = line(1, 39, [0] * 6)
    amd64 = Syscalls("x86_64")
    native, other = (call_log.parse(record(text + mark), amd64) for mark in ("", " i386"))
    assert native
    assert other
    assert (native.syscall.abi, other.syscall.abi) == ("x86_64", "i386")
    assert str(native).startswith("[1] getpid(")
    assert str(other).startswith("[1] i386:mkdir(")
    for end in ("i386", " i38", " i3866", " i386 "):
        assert call_log.parse(record(text + end), amd64) is None


def test_json_has_the_abi_and_its_name() -> None:
    text = line(1, 39, [0] * 6) + " i386"
    call = call_log.parse(record(text), Syscalls("x86_64"))
    assert call
    found = json.loads(call.as_json())
    assert (found["abi"], found["syscall"], found["number"]) == ("i386", "mkdir", 39)


def test_log_line_of_another_level_is_none() -> None:
    """Somebody may write such a text to the log; the module's has the level it must have."""
    text = line(1, 39, [0] * 6)
    assert call_log.parse(record(text), I386)
    assert all(call_log.parse(record(text, level), I386) is None for level in range(7))


def test_call_for_a_person() -> None:
    call = call_log.parse(record("[4b7]27(bf8e3a10,1ff,0,0,0,0)"), I386)
    assert call
    assert str(call) == "[1207] mkdir(0xbf8e3a10, 0x1ff, 0x0, 0x0, 0x0, 0x0)"


# ---- records of /dev/kmsg ----


@given(st.text())
def test_any_text_is_a_record_or_none(raw: str) -> None:
    kmsg.parse_record(raw)


def test_record() -> None:
    raw = "7,508,17465510,-;[138]27(1,2,3,4,5,6)\n SUBSYSTEM=x\n"
    assert kmsg.parse_record(raw) == kmsg.Record(7, 508, 17465510, "[138]27(1,2,3,4,5,6)")


def test_record_of_a_facility_and_with_escapes() -> None:
    found = kmsg.parse_record("30,1,2,c,caller=T1;a\\x0ab\\x5cc\n")
    assert found == kmsg.Record(6, 1, 2, "a\nb\\c")


@given(st.sets(st.integers(0, 1000), min_size=1))
def test_missing_records_are_counted(sequences: set[int]) -> None:
    records = [record("", sequence=sequence) for sequence in sorted(sequences)]
    assert kmsg.lost(records) == max(sequences) - min(sequences) + 1 - len(sequences)


def test_nothing_is_lost_of_nothing() -> None:
    assert kmsg.lost([]) == 0


# ---- the header ----


def test_the_modules_own_header() -> None:
    interface = Interface.load(MODULE, I386)
    assert interface.custom_syscall == 0
    assert [interface.commands[command] for command in Command] == [1, 2, 3, 4]
    assert interface.status == "/proc/interceptor"


def test_custom_syscall_of_another_architecture() -> None:
    assert Interface.load(MODULE, Syscalls("x86_64")).custom_syscall == 219
    assert Interface.load(MODULE, Syscalls("arm64")).custom_syscall == 128


def test_a_students_header() -> None:
    header = """
    #define MY_CUSTOM_SYSCALL 0
    #define REQUEST_SYSCALL_INTERCEPT 1
    #define REQUEST_SYSCALL_RELEASE 0x2
    #  define REQUEST_START_MONITORING (3)
    #define REQUEST_STOP_MONITORING 4 /* stop */
    """
    interface = Interface.parse(header, I386)
    assert interface.commands[Command.START] == 3
    assert interface.status is None


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("", "does not define MY_CUSTOM_SYSCALL"),
        ("#define MY_CUSTOM_SYSCALL zero\n", "MY_CUSTOM_SYSCALL is zero"),
        ("#define MY_CUSTOM_SYSCALL __NR_nosuch\n", "no system call 'nosuch'"),
    ],
)
def test_header_that_is_none(header: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Interface.parse(header, I386)


def test_folder_without_a_header(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no readable interceptor\.h"):
        Interface.load(tmp_path, I386)


# ---- names and numbers ----


def test_names_and_numbers() -> None:
    assert I386.number("mkdir") == I386.number("39") == I386.number(39) == 39
    assert I386.number("0x27") == 39
    assert (I386.name(39), I386.name(100_000)) == ("mkdir", "100000")


@pytest.mark.parametrize(
    ("number", "name"),
    [
        (1, "EPERM"),
        (11, "EAGAIN"),
        (35, "EDEADLK"),
        (95, "EOPNOTSUPP"),
        (133, "EHWPOISON"),
        (524, "ENOTSUPP"),
        (531, "531"),
    ],
)
def test_names_of_errors_are_those_of_strace(number: int, name: str) -> None:
    assert errno_name(number) == name


def test_a_call_is_a_number_and_an_abi() -> None:
    amd64 = Syscalls("x86_64")
    native, other = SyscallRef(83, "x86_64"), SyscallRef(39, "i386", native=False)
    assert amd64.ref("mkdir") == amd64.ref(83) == amd64.ref("0x53") == native
    assert amd64.ref("i386:mkdir") == amd64.ref("i386:39") == amd64.ref(39, "i386") == other
    assert amd64.ref(other) is other
    assert (str(native), str(other), other.name) == ("mkdir", "i386:mkdir", "mkdir")
    for syscalls, call in ((amd64, "x32:mkdir"), (I386, "i386:mkdir"), (amd64, "i386:nosuch")):
        with pytest.raises(UsageError):
            syscalls.ref(call)


def test_the_module_knows_a_call_by_its_native_number() -> None:
    """Or by the other ABI, if only that has it."""
    amd64 = Syscalls("x86_64")
    for call in ("mkdir", "i386:mkdir"):
        assert amd64.canonical(amd64.ref(call)) == amd64.ref("mkdir")
    for call in ("i386:mmap2", "i386:100000"):
        assert amd64.canonical(amd64.ref(call)) == amd64.ref(call)


@pytest.mark.parametrize("name", ["mkdirr", "", "sys_mkdir"])
def test_name_of_no_call(name: str) -> None:
    with pytest.raises(UsageError, match="has no system call"):
        I386.number(name)


# ---- the status file ----


def test_status_file() -> None:
    amd64 = Syscalls("x86_64")
    found = status.parse(
        "39 listed 12 13\n252 everybody\n5 everybody-except 1\n6 listed\ni386:192 listed 7\n",
        amd64,
    )
    getpid, mmap2 = amd64.ref("getpid"), amd64.ref("i386:mmap2")
    assert found[getpid] == Intercepted(getpid, "listed", frozenset({12, 13}))
    assert found[amd64.ref(252)].mode == "everybody"
    assert found[amd64.ref(6)].pids == frozenset()
    assert found[mmap2] == Intercepted(mmap2, "listed", frozenset({7}))


@pytest.mark.parametrize(
    "text", ["39\n", "x listed\n", "39 some 1\n", "39 listed 1 x\n", "\n", "x32:3 listed\n"]
)
def test_status_file_that_is_none(text: str) -> None:
    with pytest.raises(CheckFailed):
        status.parse(text, Syscalls("x86_64"))


# ---- guest descriptions ----


def test_the_projects_own_guests() -> None:
    """Each architecture's part and each table's own."""
    known = guest_specs.load()
    default = known["bookworm-i386"]
    assert (default.suite, default.architecture, default.syscalls) == ("bookworm", "i386", "i386")
    assert default.memory == 512
    assert {"linux-image-686-pae", "linux-headers-686-pae"} < set(default.all_packages)
    assert known["bookworm-arm64"].qemu == "qemu-system-aarch64"
    assert [name for name in known if known[name].dispatch == "table"] == [
        "bullseye-i386", "bullseye-amd64", "bookworm-arm64", "trixie-arm64"
    ]  # fmt: skip
    assert guest_specs.DEFAULT_GUEST in known


def test_unknown_guest() -> None:
    with pytest.raises(UsageError, match="there are: bookworm-i386"):
        guest_specs.find("nosuch")


GUESTS = (bundled.VM / "guests.toml").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('machine = "virt"\n', "", "'machine' is missing"),
        ('machine = "virt"\n', 'machine = "virt"\nmachin = 1\n', "unknown key 'machin'"),
        ('like = "arm64"\nsuite = "trixie"', 'like = "riscv64"', "no .architectures.riscv64."),
        ("cpus = 2", 'cpus = "two"', "not of the right type"),
        ('kernel = ["', 'kernel = [1, "', "not of the right type"),
        ("[bookworm-i386]", "[bookworm-i386", r"guests\.toml"),
    ],
)
def test_guest_description_that_is_none(old: str, new: str, message: str) -> None:
    assert old in GUESTS
    with pytest.raises(UsageError, match=message):
        guest_specs.parse(GUESTS.replace(old, new))


def test_an_image_is_named_by_all_that_makes_it(tmp_path: Path) -> None:
    spec = guest_specs.find()
    (tmp_path / "rootfs" / "etc").mkdir(parents=True)
    for name in ("setup.sh", "excluded", "rootfs/etc/one"):
        (tmp_path / name).write_text("1", encoding="ascii")
    seen = {image.digest(spec, "key", tmp_path)}
    seen.add(image.digest(spec, "another key", tmp_path))
    for name in ("setup.sh", "excluded", "rootfs/etc/one", "rootfs/etc/two"):
        (tmp_path / name).write_text("2", encoding="ascii")
        seen.add(image.digest(spec, "key", tmp_path))
    assert len(seen) == 6
    assert image.digest(spec, "key", tmp_path) in seen


# ---- the benchmark's initial file system ----


def test_cpio_is_what_cpio_reads(tmp_path: Path) -> None:
    nodes = [cpio.folder("a"), cpio.file("a/b", b"hello", executable=True), cpio.file("c", b"")]
    data = cpio.archive(nodes)
    assert len(data) % 4 == 0
    assert data.count(b"070701") == len(nodes) + 1
    at = data.index(b"a/b\0")
    size = int(data[at - 110 + 54 : at - 110 + 62], 16)
    body = (at + 4 + 3) // 4 * 4
    assert data[body : body + size] == b"hello"
