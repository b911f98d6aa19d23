# SPDX-License-Identifier: GPL-2.0
"""Modules broken on purpose: the real one, in which some lines say something else."""

from dataclasses import dataclass
from pathlib import Path

from pyharness.guest.module_source import source_files
from pyharness.interceptor import MODULE

_IN_A_COMMAND = "	pid = find_monitorable(nr);\n"
_IN_A_LOGGED_CALL = '	pr_devel(INTERCEPTOR_LOG_LINE "%s\\n", current->pid,\n'
_BEFORE_A_LOGGED_CALL = "static noinline void log_call("


@dataclass(frozen=True)
class Change:
    """Some text of a file of the module, and what it becomes."""

    old: str
    new: str
    file: str = "interceptor.c"


def _before(old: str, statements: str) -> Change:
    return Change(old, statements + old)


# What is wrong with each, and what it takes.
BROKEN: dict[str, tuple[Change, ...]] = {
    "null dereference in a command": (_before(_IN_A_COMMAND, "	*(volatile int *)8 = nr;\n"),),
    "null dereference in the interceptor": (
        _before(_IN_A_LOGGED_CALL, "	*(volatile int *)16 = 1;\n"),
    ),
    "null dereference at unload": (
        _before("	synchronize_srcu(&commands);\n", "	*(volatile int *)24 = 1;\n"),
    ),
    "lock never released": (
        Change(
            "		err = release(syscall);\n	mutex_unlock(&calls_lock);\n	return err;\n",
            "		err = release(syscall);\n	return err;\n",
        ),
    ),
    "loop with interrupts off": (
        _before(_IN_A_COMMAND, "	local_irq_disable();\n	for (;;)\n		cpu_relax();\n"),
    ),
    "loop with interrupts off on all CPUs": (
        _before(
            "static int monitor(int cmd,",
            "static void forever(void *unused)\n{\n	for (;;)\n		cpu_relax();\n}\n\n",
        ),
        _before(_IN_A_COMMAND, "	on_each_cpu(forever, NULL, 0);\n"),
    ),
    "sleep under a spinlock": (
        Change("#include <linux/cred.h>\n", "#include <linux/cred.h>\n#include <linux/delay.h>\n"),
        _before("static int monitor(int cmd,", "static DEFINE_SPINLOCK(spin);\n\n"),
        _before(_IN_A_COMMAND, "	spin_lock(&spin);\n	msleep(10);\n	spin_unlock(&spin);\n"),
    ),
    "return to freed text": (
        Change("#include <linux/cred.h>\n", "#include <linux/cred.h>\n#include <linux/delay.h>\n"),
        _before("	preempt_disable();\n", "	msleep(2000);\n"),
    ),
    "stack overflow": (
        _before(
            _BEFORE_A_LOGGED_CALL,
            "static noinline int deep(int n)\n{\n	volatile char room[200];\n\n"
            "	room[n % 200] = n;\n	return n ? deep(n + 1) + room[n % 100] : 0;\n}\n\n",
        ),
        _before(_IN_A_LOGGED_CALL, "	deep(1);\n"),
    ),
    "double fault": (
        _before(
            _IN_A_LOGGED_CALL,
            '	asm volatile("xor %" _ASM_SP ", %" _ASM_SP "; push %" _ASM_AX);\n',
        ),
    ),
    "wrong value": (
        Change(
            "	return err;\n}\n\nstatic void clear(",
            "	return err ?: 1;\n}\n\nstatic void clear(",
        ),
    ),
    "memory leak": (
        _before(_IN_A_LOGGED_CALL, "	WRITE_ONCE(*(char *)kmalloc(512, GFP_ATOMIC), 1);\n"),
    ),
}


def write(folder: Path, *changes: Change) -> Path:
    """Make a copy of the module with some changes."""
    folder.mkdir()
    for path in source_files(MODULE):
        (folder / path.name).write_bytes(path.read_bytes())
    for change in changes:
        make(folder, change)
    return folder


def make(folder: Path, change: Change) -> None:
    """Make a change to a copy of the module."""
    path = folder / change.file
    text = path.read_text(encoding="utf-8")
    assert text.count(change.old) == 1, f"{change.file} has not one {change.old!r} to break"
    path.write_text(text.replace(change.old, change.new), encoding="utf-8")


def line_of(folder: Path, change: Change) -> str:
    """The first changed line, as ``file:line``."""
    text = (folder / change.file).read_text(encoding="utf-8")
    return f"{change.file}:{text[: text.index(change.new)].count(chr(10)) + 1}"
