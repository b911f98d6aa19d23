# SPDX-License-Identifier: GPL-2.0
"""By which way the module gets in between: chosen, logged, refused, and left as it was found."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from object_code import functions, sealed, shared_writes

from pyharness import Guest, ModuleRefused, interceptor
from pyharness.guest.module_source import ModuleSource
from pyharness.interceptor import MODULE, Interceptor

CALL = "sched_rr_get_interval"
FOREIGN = Path(__file__).parents[1] / "programs" / "foreign.c"
# What the kernel says of the first module that it loads begins likewise.
OWN = re.compile("interceptor: (?!loading out-of-tree|module verification)")
HANDLER = re.compile("ftrace direct call|kprobe")
# What a kernel's command line may switch off (Documentation/admin-guide/kernel-parameters.txt).
WEAKER = {
    "cfi", "clearcpuid", "ibt", "kpti", "mitigations", "nokaslr", "nopti", "nosmap", "nosmep",
    "nospectre_v1", "nospectre_v2", "pti", "retbleed", "rodata", "spec_store_bypass_disable",
    "spectre_bhi", "spectre_v2",
}  # fmt: skip


def message(guest: Guest, mark: int) -> str:
    """What the module has said since then."""
    lines = [record.text for record in guest.log.since(mark)]
    return "\n".join(line for line in lines if OWN.match(line))


def test_hardening_is_left_on(bare_guest: Guest) -> None:
    """The guest's kernel is not asked to leave out what it has by default."""
    words = bare_guest.run(["cat", "/proc/cmdline"]).check().stdout.split()
    names = {word.partition("=")[0] for word in words}
    assert "root" in names
    assert not names & WEAKER


def test_auto_takes_what_the_kernel_needs(bare_guest: Guest) -> None:
    mark = bare_guest.log.mark()
    module = interceptor.load(bare_guest)
    by = message(bare_guest, mark).split("hooked by ")[1]
    module.unload()
    assert ("table" if by == "table" else "handler") == bare_guest.qemu.saved_state.spec.dispatch
    assert by == "table" or HANDLER.fullmatch(by)


def test_the_handler_method_works_in_every_guest(bare_guest: Guest) -> None:
    mark = bare_guest.log.mark()
    interceptor.load(bare_guest, method="handler").unload()
    assert HANDLER.search(message(bare_guest, mark))


def test_a_table_that_nobody_reads_is_refused(bare_guest: Guest) -> None:
    built = bare_guest.build(MODULE)
    mark = bare_guest.log.mark()
    if bare_guest.qemu.saved_state.spec.dispatch == "table":
        bare_guest.load_ko(built.ko, method="table")
        bare_guest.run(["rmmod", built.name]).check()
        assert "hooked by table" in message(bare_guest, mark)
        return
    with pytest.raises(ModuleRefused, match="No such device"):
        bare_guest.load_ko(built.ko, method="table")
    assert re.fullmatch(
        r"interceptor: not loaded: \w+\(\) of this kernel uses no table of system calls:"
        r" load with method=auto",
        message(bare_guest, mark),
    )


def test_an_unknown_method_is_refused(bare_guest: Guest) -> None:
    built = bare_guest.build(MODULE)
    mark = bare_guest.log.mark()
    with pytest.raises(ModuleRefused, match=r"Invalid (parameters|argument)"):
        bare_guest.load_ko(built.ko, method="nosuch")
    wanted = "interceptor: not loaded: there is no method=nosuch: it is auto, table or handler"
    assert message(bare_guest, mark) == wanted


def disassembled(guest: Guest, folder: Path) -> str:
    """The object code of a module, with its relocations."""
    path = "/root/looked-at.ko"
    guest.put(guest.build(folder).ko.read_bytes(), path)
    return guest.run(["objdump", "-dr", "--no-show-raw-insn", path], seconds=60).check().stdout


@pytest.fixture
def object_code(bare_guest: Guest) -> str:
    """The module's own."""
    return disassembled(bare_guest, MODULE)


def test_stubs_are_aligned(object_code: str) -> None:
    """A direct call to an odd address is none: from 6.19 on it is a jump."""
    stubs = re.findall(r"^([0-9a-f]+) <\w+_(?:entry|direct)>:$", object_code, re.MULTILINE)
    assert len(stubs) >= 3
    assert [address for address in stubs if int(address, 16) % 4] == []


# The instruction that makes the mask of array_index_nospec(), or a barrier of it.
MASK = re.compile(r"\b(sbb|csdb)\b")


def test_a_callers_number_is_masked_where_it_indexes(bare_guest: Guest, object_code: str) -> None:
    """In the object code: no CPU that guesses gets to read, or to jump, where the caller says."""
    masks = {name: len(MASK.findall(body)) for name, body in functions(object_code).items()}
    abis = 2 if bare_guest.facts.architecture == "amd64" else 1
    assert min(masks[name] for name in ("call_early", "call_next", "call_late")) >= abis
    assert masks["do_my_syscall"] >= 1


@pytest.mark.architecture("amd64")
def test_the_kernel_keeps_the_landings_in_the_table(bare_guest: Guest) -> None:
    """In the object code: it overwrites those that are listed, and jumps from the table to a stub.

    A CPU with indirect branch tracking takes such a jump for an attack.
    """
    with bare_guest.build(MODULE).ko.open("rb") as file:
        assert not [name for name in sealed(file) if re.fullmatch(r"\w+_(entry|entries_\d+)", name)]


# What runs when an intercepted call is issued, before it is recorded, and the writer of the ring.
ON_THE_PATH = re.compile(
    r"(call_(entry|direct|entries_|directs_|early|late|next|if_issued|probe)|before_call|"
    r"monitored_for|pid_set_find_current|ring_write)\w*"
)
COUNTERS = {
    "": "",
    "a counter": "static unsigned long counter; WRITE_ONCE(counter, READ_ONCE(counter) + 1);",
    "an atomic counter": "static atomic_t counter; atomic_inc(&counter);",
}


@pytest.mark.parametrize("counter", COUNTERS)
def test_the_path_of_a_call_writes_no_shared_memory(
    bare_guest: Guest, broken_module: Callable[[str, str, str], Path], counter: str
) -> None:
    """In the object code: CPUs would wait for each other's cache. A counter would be seen."""
    begin = "before_call(struct pt_regs *regs, unsigned long call)\n{\n"
    folder = broken_module("interceptor.c", begin, begin + COUNTERS[counter]) if counter else MODULE
    found = functions(disassembled(bare_guest, folder))
    path = {name: body for name, body in found.items() if ON_THE_PATH.match(name)}
    assert path.keys() >= {"call_entry", "call_early", "call_late", "ring_write", "call_entries_1"}
    writes = [write for body in path.values() for write in shared_writes(body)]
    assert bool(writes) == bool(counter), writes


def test_a_table_stub_leaves_no_stack_frame(object_code: str) -> None:
    """In the object code: what stands in the table calls once, and leaves by a jump."""
    found = functions(object_code)
    stubs = {name: body for name, body in found.items() if name.endswith("_entry")}
    assert stubs.keys() == {"call_entry", "exit_group_entry", "restart_syscall_entry"}
    for name, body in stubs.items():
        lines = [line.split("\t")[1].split() for line in body.splitlines() if "\t" in line]
        # Debian 11's objdump writes callq and jmpq. The second column of a relocation is empty.
        code = [words[0].removesuffix("q") for words in lines if words]
        code = code[: next(n for n, word in enumerate(code) if word in ("jmp", "br", "b"))]
        assert len([word for word in code if word in ("call", "bl", "blr")]) == 1, name
        stack = [word for word in code if word in ("push", "pop", "stp", "ldp")]
        assert stack in (["push", "pop"], ["stp", "ldp"]), name


@pytest.fixture
def foreign(guest: Guest, tmp_path: Path) -> Callable[[], None]:
    """Loads somebody else's module, who replaces CALL in front of us."""
    folder = tmp_path / "foreign"
    folder.mkdir()
    for path in ModuleSource(MODULE).paths:
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / FOREIGN.name).write_bytes(FOREIGN.read_bytes())
    kbuild = folder / "Kbuild"
    text = kbuild.read_text(encoding="utf-8").replace("interceptor.o", "foreign.o")
    kbuild.write_text(text, encoding="utf-8")

    def load() -> None:
        guest.load_ko(guest.build(folder).ko, nr=guest.syscalls.number(CALL))

    return load


def is_served(module: Interceptor) -> bool:
    """Whether CALL does what it should."""
    actor = module.guest.actor("nobody")
    return actor.syscall(CALL, actor.pid, 0).error == "EFAULT"


@pytest.mark.by_table
def test_an_entry_taken_over_is_left_alone_at_release(
    module: Interceptor, guest: Guest, foreign: Callable[[], None]
) -> None:
    """The module stays as long as somebody goes on to it."""
    assert module.intercept(CALL).value == 0
    assert module.start(CALL).value == 0
    foreign()
    mark = guest.log.mark()
    assert is_served(module)
    assert len(module.logged(mark)) == 1
    for _ in range(2):
        assert module.release(CALL).error == "EBUSY"
    assert re.fullmatch(
        r"interceptor: system call \d+ was taken over by foreign_entry \[foreign\]: it can't be"
        " given back before that is gone",
        message(guest, mark),
    )
    mark = guest.log.mark()
    assert is_served(module)
    assert module.logged(mark) == []
    assert "in use" in guest.run(["rmmod", module.name]).stderr
    guest.run(["rmmod", "foreign"]).check()
    assert module.release(CALL).value == 0
    assert is_served(module)
    module.unload()
    assert is_served(module)


@pytest.mark.by_table
def test_an_entry_that_is_free_again_is_given_back(
    module: Interceptor, guest: Guest, foreign: Callable[[], None]
) -> None:
    """By the module itself: who released it did so once, and it can be unloaded."""
    assert module.intercept(CALL).value == 0
    foreign()
    assert module.release(CALL).error == "EBUSY"
    # It is released already: nobody is monitored from then on.
    for pid in (0, 1):
        assert module.start(CALL, pid).error == "EINVAL"
    guest.run(["rmmod", "foreign"]).check()
    guest.wait("the entry", lambda: not module.status())
    with module.intercepted(CALL):
        mark = guest.log.mark()
        assert is_served(module)
        assert module.logged(mark) == []
    module.unload()
    assert is_served(module)


@pytest.mark.by_table
def test_release_accepts_an_entry_that_an_earlier_hooker_restored(
    module: Interceptor, guest: Guest, foreign: Callable[[], None]
) -> None:
    """Over the module's own: the kernel's function is there again, and all are content."""
    foreign()
    assert module.intercept(CALL).value == 0
    guest.run("echo Y > /sys/module/foreign/parameters/rude && rmmod foreign").check()
    assert is_served(module)
    assert module.release(CALL).value == 0
    assert module.status() == {}
    assert is_served(module)
    module.unload()


@pytest.mark.by_table
def test_an_entry_taken_over_is_waited_for_at_unload(
    module: Interceptor, guest: Guest, foreign: Callable[[], None]
) -> None:
    assert module.intercept(CALL).value == 0
    foreign()
    mark = guest.log.mark()
    unloading = guest.actor()
    unloading.execute("/sbin/rmmod", module.name)
    guest.wait(
        "what it waits for", lambda: "was taken over by foreign_entry" in message(guest, mark)
    )
    assert is_served(module)
    assert guest.is_loaded(module.name)
    guest.run(["rmmod", "foreign"]).check()
    assert unloading.reap() == 0
    assert not guest.is_loaded(module.name)
    assert is_served(module)
