# SPDX-License-Identifier: GPL-2.0
"""Break the module in one place after the other, and see the tests notice each; ends with a table.

Run as a program (``make mutants``)::

    mutants.py [NAME ...]

Each mutant is a copy of the checkout with some lines of the module changed, in
which the tests are run that are there for what these lines do. They have to
fail. A mutant that they pass has survived: a test is missing.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from broken import Change, make

ROOT = Path(__file__).parents[2]
FAILED = 1  # pytest's exit status: the tests ran, and some failed


@dataclass(frozen=True)
class Mutant:
    """A broken module.

    Attributes:
        test: what notices it, an argument of pytest.
        changes: what is changed.
        guest: where.
        select: which of these tests, as an expression for pytest's ``-k``.
    """

    test: str
    changes: tuple[Change, ...]
    guest: str = "bookworm-i386"
    select: str = ""


def mutant(test: str, old: str, new: str, file: str = "interceptor.c", **more: str) -> Mutant:
    """A mutant of one change."""
    return Mutant(test, (Change(old, new, file),), **more)


AWKWARD = "contract/test_restart.py::test_an_awkward_sleep_is_no_command"
UNKNOWN = "contract/test_restart.py::test_an_unknown_command_finishes_no_sleep"
STUCK = "contract/test_tracers.py::test_a_call_that_stays_hooked_keeps_the_module"
SHORT = "contract/test_no_memory.py"

MUTANTS = {
    # ---- restarts and commands ----
    "registers of a restart are cut to 32 bits": mutant(
        AWKWARD, "	return !is_restart(arg,", "	arg[0] = (u32)arg[0];\n	return !is_restart(arg,",
        guest="bookworm-amd64", select="high",
    ),
    "a sleep on the CPU's clock is no restart": mutant(
        AWKWARD,
        "		clock = RESTART_PROCESS_CLOCK;", "		clock = 0;", "restart.h", select="cputime",
    ),
    "a sleep on an alarm clock is no restart": mutant(
        AWKWARD, '	{ "alarm_timer_nsleep_restart", restart_of_alarm },\n', "", "restart.h",
        select="alarm",
    ),
    "a poll's descriptors are not compared": mutant(
        UNKNOWN,
        "	return arg[0] == (unsigned long)kept->poll.ufds &&", "	return true ||", "restart.h",
    ),
    "a restart function alone is a restart": mutant(
        UNKNOWN, "		if (fits && restarts",
        "		if (!is_idle && fits)\n			return true;\n		if (fits && restarts",
        "restart.h",
    ),
    "a sleep that the kernel has forgotten is no restart": mutant(
        "contract/test_restart.py::test_a_storm_of_handlers_and_stops",
        "	return is_known ? restart_has_address(arg, reads_as_command) :",
        "	return is_known ? false :", "restart.h",
    ),
    "a call by a debugger makes a restart a command": mutant(
        AWKWARD, "		is_known |= fits;\n", "		if (fits && !is_idle)\n			return false;\n"
        "		is_known |= fits;\n",
        "restart.h", select="nanosleep",
    ),
    "a request is not looked for in memory": mutant(
        AWKWARD,
        "	if (!copy_from_user_nofault(&byte, (void __user *)address, sizeof(byte)))\n"
        "		return true;\n",
        "	(void)byte;\n", "restart.h", guest="bookworm-amd64", select="low",
    ),
    "a request that can't be looked for is none": mutant(
        AWKWARD, "restart_is_mapped(address,\n					    address >= RESTART_LOWEST)",
        "restart_is_mapped(address, false)", "restart.h", guest="bookworm-amd64", select="low",
    ),
    "flags that are a call's number are flags": mutant(
        "contract/test_restart.py::test_a_pid_that_is_an_address_is_ignored",
        "	       !flags : !(flags & TIMER_ABSTIME);", "	       !(flags & 1) : !(flags & 1);",
        "restart.h", guest="bookworm-amd64",
    ),
    "a process that never slept may restart a sleep": mutant(
        "contract/test_restart.py::test_a_pid_that_is_an_address_is_ignored",
        "	if (is_idle && !restart_was_kept(kept))\n"
        "		return restart_of_poll(kept, arg, reads_as_command);\n",
        "	if (is_idle && restart_is_mapped(arg[2], true))\n		return true;\n",
        "restart.h", guest="bookworm-amd64",
    ),
    "upper halves of registers count by int 0x80": mutant(
        AWKWARD, "			arg[i] = (u32)arg[i];\n", "			;\n", "abi.h",
        guest="bookworm-amd64", select="ia32",
    ),
    # ---- load and unload ----
    "commands are taken before the module is loaded": mutant(
        "contract/test_load.py::test_a_load_that_fails_late_leaves_nothing",
        "	if (!READ_ONCE(commands_taken) || !abi)", "	if (!abi)",
    ),
    "a load that fails late takes nothing back": mutant(
        "contract/test_load.py::test_a_load_that_fails_late_leaves_nothing",
        "		shut_down();\n		return err;\n", "		return err;\n",
    ),
    "what ftrace could not take back is forgotten": mutant(
        STUCK,
        "	if (handler_needs_ftrace(hook) && ftrace_has_given_up())\n		return -ENODEV;\n",
        "", "handler.h",
    ),
    "a call that can't be given back does not keep the module": mutant(
        STUCK, "		__module_get(THIS_MODULE);\n", "		;\n", "hook.h",
    ),
    "a hook is retired without a word to ftrace": mutant(
        "contract/test_unload.py::test_unload_with_everything_intercepted",
        "	hooks_retire();\n	mutex_unlock", "	mutex_unlock",
    ),
    "an entry that is free again is left": mutant(
        "contract/test_methods.py::test_an_entry_that_is_free_again_is_given_back",
        "	schedule_delayed_work(&giving_back, HZ);\n}\n\nstatic int intercept",
        "}\n\nstatic int intercept",
        guest="bullseye-i386",
    ),
    "a call that is released later can be monitored": mutant(
        "contract/test_methods.py::test_an_entry_that_is_free_again_is_given_back",
        "	if (!is_taken(call->hooks) || call->leaving)", "	if (!is_taken(call->hooks))",
        guest="bullseye-i386",
    ),
    "hooks are made though ftrace has given up": mutant(
        "contract/test_tracers.py::test_nothing_is_hooked_once_ftrace_has_given_up",
        "	if (ftrace_has_given_up())\n		return -ENODEV;\n	err = handler_keep();",
        "	err = handler_keep();", "handler.h",
    ),
    "what watches the hooks is taken for gone": mutant(
        "contract/test_tracers.py::test_unloading_waits_for_what_watches_the_hooks",
        "	if ((handler_is_probed || handler_is_kept) && ftrace_has_given_up())\n"
        "		return -ENODEV;\n",
        "", "handler.h", guest="bookworm-amd64",
    ),
    "hooks are tried though ftrace is off": mutant(
        "contract/test_tracers.py::test_a_load_that_is_refused_leaves_ftrace_well",
        "		if (kept == -EBUSY)	/* so it refuses what is permanent */\n"
        "			return -ENODEV;\n",
        "", "handler.h", guest="bookworm-amd64",
    ),
    # ---- PREEMPT_RT ----
    "a lock is waited for where a process ends": mutant(
        "soak/test_races.py::test_race",
        "	rcu_read_lock();\n	for_each_set_bit(i, intercepted",
        "	xa_lock(&calls[0].pids[0]);\n	xa_unlock(&calls[0].pids[0]);\n"
        "	rcu_read_lock();\n	for_each_set_bit(i, intercepted",
        guest="bookworm-rt-amd64", select="preempting",
    ),
    "the console is waited for in a hook": mutant(
        "soak/test_log.py::test_nobody_waits_for_the_console_in_a_hook",
        "	preempt_disable();\n", "	preempt_disable();\n	preempt_enable();\n",
        guest="bookworm-rt-amd64",
    ),
    # ---- rights and limits ----
    "a caller's number indexes unmasked": mutant(
        "contract/test_methods.py::test_a_callers_number_is_masked_where_it_indexes",
        "		return array_index_nospec(nr, NR_syscalls);\n", "		return nr;\n", "abi.h",
    ),
    "user 0 is root without rights": mutant(
        "contract/test_permissions.py::test_root_without_rights_is_not_root",
        "	       capable(CAP_SYS_ADMIN);", "	       true;",
    ),
    "an entry outlives an exec with more rights": mutant(
        "contract/test_permissions.py::test_an_entry_ends_where_its_maker_has_no_say",
        "	return !READ_ONCE(entry->by_root) &&\n", "	return false &&\n",
    ),
    "root's entry ends at an exec with more rights": mutant(
        "contract/test_permissions.py::test_an_entry_ends_where_its_maker_has_no_say",
        "	return !READ_ONCE(entry->by_root) &&\n", "	return\n",
    ),
    "users=0 is ignored": mutant(
        "contract/test_permissions.py::test_users_may_be_kept_out", "(users && is_callers(task))",
        "is_callers(task)",
    ),
    "a user's entries are not counted": mutant(
        "contract/test_permissions.py::test_a_user_has_so_many_entries",
        "	    entries_of(current_euid(), 0) >= user_entries) {", "	    false) {",
    ),
    "a user's lines are not limited": mutant(
        "contract/test_permissions.py::test_what_users_log_is_limited",
        "	allowed = user_lines_logged < user_lines;", "	allowed = true;",
    ),
    "what is recorded already needs room": mutant(
        "contract/test_permissions.py::test_who_is_out_already_needs_no_room",
        "!entry_find(pids, pid_nr(pid), pid) &&", "true &&",
    ),
    "a busy lock leaves lines out": mutant(
        "contract/test_permissions.py::test_what_users_log_need_not_be_limited",
        "	raw_spin_lock_irqsave(&user_lines_lock, flags);\n",
        "	if (!raw_spin_trylock_irqsave(&user_lines_lock, flags))\n		return false;\n",
        guest="bookworm-amd64",
    ),
    "a process that ends is forgotten before its threads": mutant(
        "contract/test_death.py::test_a_process_is_monitored_as_before_until_it_ends",
        "	if (thread_group_empty(current))\n", "",
    ),
    "root's lines are limited": mutant(
        "contract/test_permissions.py::test_what_users_log_is_limited",
        "	if (audience == ROOT || user_line", "	if (user_line",
    ),
    "lists are charged to nobody": mutant(
        "contract/test_permissions.py::test_an_entry_is_charged_to_its_makers_cgroup",
        "	xa_init_flags(pids, XA_FLAGS_ACCOUNT);", "	xa_init(pids);", "entries.h",
    ),
    # ---- the rest of the contract ----
    "what failed leaks": mutant(
        f"{SHORT}::test_nothing_is_kept_of_what_failed",
        "	if (err)\n		entry_free(entry);\n	return err;\n",
        "	if (err) {\n		atomic_dec(slot(pid_nr(pid)));\n		entries_of(maker, -1);\n"
        "		put_pid(pid);\n	}\n	return err;\n",
        "entries.h",
    ),
    "RELEASE ends the monitoring, and fails": mutant(
        SHORT,
        "	err = give_back(call->hooks, syscall);\n	if (err == -ENOMEM)\n",
        "	clear(call);\n	err = give_back(call->hooks, syscall);\n	if (err == -ENOMEM)\n",
        guest="bullseye-i386",
    ),
    "who is not seen is listed as 0": mutant(
        "contract/test_permissions.py::test_the_status_file_has_whom_its_reader_sees",
        "		if (seen && !atomic_read", "		if (!atomic_read",
    ),
    "a symbol is looked up each time": mutant(
        "contract/test_tracers.py::test_a_handler_is_looked_up_once",
        "	if (!abi->originals[nr])\n		abi", "	abi", "hook.h",
    ),
}  # fmt: skip


def copy(folder: Path) -> None:
    """Copy the checkout: what git has, as it is now, and what it would add."""
    line = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    said = subprocess.run(line, cwd=ROOT, check=True, capture_output=True, text=True)
    for name in said.stdout.split("\0")[:-1]:
        if (ROOT / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)


def outcome(one: Mutant) -> str:
    """Run the tests on a mutant.

    Returns:
        "caught", "SURVIVED", or the end of what pytest printed if it did not get that far,
        as where the mutant is no C.
    """
    with tempfile.TemporaryDirectory(prefix="mutant-") as name:
        folder = Path(name)
        copy(folder)
        for each in one.changes:
            make(folder / "module", each)
        line = [
            sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:xdist", f"--guest={one.guest}",
            f"tests/{one.test}", "-k", one.select,
        ]  # fmt: skip
        said = subprocess.run(line, cwd=folder, capture_output=True, text=True, check=False)
    if said.returncode == FAILED and "does not build in the guest" not in said.stdout:
        return "caught"
    return "SURVIVED" if said.returncode == 0 else said.stdout[-1000:] + said.stderr[-1000:]


def main() -> int:
    """Run all, or those that are named."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("names", nargs="*", metavar="NAME", help="of these mutants")
    names = parser.parse_args().names or [*MUTANTS]
    for name in names:
        if name not in MUTANTS:
            parser.error(f"there is no {name!r}; there are: {', '.join(MUTANTS)}")

    def one(name: str) -> bool:
        mutated = MUTANTS[name]
        said = outcome(mutated)
        print(f"| {name} | `{mutated.guest}` | `{mutated.test}` | {said} |", flush=True)
        return said == "caught"

    print("| mutant | guest | test | outcome |\n|---|---|---|---|", flush=True)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return 0 if all([*pool.map(one, names)]) else 1


if __name__ == "__main__":
    sys.exit(main())
