// SPDX-License-Identifier: GPL-2.0
/*
 * MY_CUSTOM_SYSCALL is restart_syscall(). The kernel itself sends a process
 * there to go on with a sleep that was interrupted: by a stop, a debugger, the
 * freezer. This tells such a restart from a command.
 *
 * When a sleep is interrupted, the kernel keeps in current->restart_block the
 * function that goes on with it, fn, and the arguments which that needs. Then
 * it sets the number to restart_syscall's, and leaves all other registers as
 * they are. So the registers of a restart are those of the call that slept,
 * and agree with what was kept:
 *
 *   fn				registers of the call	what has to agree
 *   hrtimer_nanosleep_restart	nanosleep(req, rem)	rem; kept clock: MONOTONIC
 *				clock_nanosleep(clock,	clock, REALTIME being
 *				  flags, req, rem)	  kept as MONOTONIC; rem
 *   posix_cpu_nsleep_restart	clock_nanosleep()	clock, PROCESS_CPUTIME
 *							  being kept as -6; rem
 *   alarm_timer_nsleep_restart	clock_nanosleep()	clock, *_ALARM being
 *							  kept as 0, 1; rem
 *   do_restart_poll		poll(fds, n, timeout)	fds, n, timeout >= 0
 *   futex_wait_restart		futex(uaddr, op, val)	uaddr, val; op: a wait
 *   do_no_restart_syscall	any of these		any of these (idle)
 *   another			unknown			not a command's registers
 *
 * These are all functions that the kernel has for this, from 5.10 to 7.3. What
 * is not kept must make sense: clock_nanosleep()'s flags are without
 * TIMER_ABSTIME, which has no restart, and a request is where memory is, or at
 * least can be. No other flag is defined, and where the clock is a command's
 * number, the flags have that of its system call: there they must be 0. Pointers
 * are compared whole, an int is what the kernel takes for one.
 *
 * fn outlives the sleep, as nothing resets it when a restart has come to its
 * end. So it alone is no sign of a restart, and a command that is issued
 * later has other registers.
 *
 * rt_sigreturn() resets fn. It does so as well where a handler runs after the
 * kernel has decided to restart, and before the instruction is executed. That
 * call is do_no_restart_syscall()'s, which returns -EINTR. The arguments are
 * still in restart_block, unless the handler slept as well. Or a debugger has
 * the process make other calls in between, and sleep in them. Then an address
 * where a command would have a number is what remains to tell the two apart,
 * unless nothing was ever kept: no sleep of the process was interrupted.
 */
#include <linux/futex.h>
#include <linux/irqflags.h>
#include <linux/kallsyms.h>
#include <linux/mm.h>
#include <linux/restart_block.h>
#include <linux/sched.h>
#include <linux/sched/task.h>
#include <linux/time.h>
#include <linux/uaccess.h>

#include "interceptor.h"
#include "restart.h"

/* CLOCK_PROCESS_CPUTIME_ID, as posix_cpu_nsleep() is called: PROCESS_CLOCK. */
#define RESTART_PROCESS_CLOCK	(-6)

/*
 * Below, nothing is mapped by default (mmap_min_addr), and there are the numbers
 * that somebody may take for commands.
 */
#define RESTART_LOWEST	0x10000

/*
 * Is something mapped there in the current process? A hook must not sleep: where
 * the memory isn't in, and can't be looked for at the moment, @unknown is said.
 */
static bool restart_is_mapped(unsigned long address, bool unknown)
{
	struct mm_struct *mm = current->mm;
	struct vm_area_struct *vma;
	bool mapped;
	u8 byte;

	if (!copy_from_user_nofault(&byte, (void __user *)address, sizeof(byte)))
		return true;
	/*
	 * On PREEMPT_RT giving this lock back may switch interrupts on, and a
	 * kprobe of arm64 runs with interrupts off.
	 */
	if ((IS_ENABLED(CONFIG_PREEMPT_RT) && irqs_disabled()) ||
	    !mmap_read_trylock(mm))
		return unknown;
	address = untagged_addr(address);
	vma = find_vma(mm, address);
	mapped = vma && vma->vm_start <= address;
	mmap_read_unlock(mm);
	return mapped;
}

/*
 * Can a request have been there? Where the registers read as a command, it has
 * to be there still; else it may have been unmapped since.
 */
static bool restart_is_request(unsigned long address, bool reads_as_command)
{
	bool may_be = !reads_as_command && address >= RESTART_LOWEST &&
		      IS_ALIGNED(address, sizeof(u32));

	return untagged_addr(address) < TASK_SIZE &&
	       (may_be || restart_is_mapped(address,
					    address >= RESTART_LOWEST));
}

/* Can these be the flags of a clock_nanosleep() that has a restart? */
static bool restart_has_flags(const unsigned long arg[6])
{
	clockid_t clock = arg[0];
	int flags = arg[1];

	return clock == REQUEST_SYSCALL_INTERCEPT ||
	       clock == REQUEST_SYSCALL_RELEASE ?
	       !flags : !(flags & TIMER_ABSTIME);
}

static bool restart_is_clock_nanosleep(const struct restart_block *kept,
				       clockid_t clock,
				       const unsigned long arg[6],
				       bool reads_as_command)
{
	return kept->nanosleep.clockid == clock && restart_has_flags(arg) &&
	       restart_is_request(arg[2], reads_as_command) &&
	       arg[3] == (unsigned long)kept->nanosleep.rmtp;
}

static bool restart_of_hrtimer(const struct restart_block *kept,
			       const unsigned long arg[6],
			       bool reads_as_command)
{
	clockid_t clock = arg[0];

	if (kept->nanosleep.clockid == CLOCK_MONOTONIC &&
	    arg[1] == (unsigned long)kept->nanosleep.rmtp &&
	    restart_is_request(arg[0], reads_as_command))
		return true;
	return restart_is_clock_nanosleep(kept, clock == CLOCK_REALTIME ?
					  CLOCK_MONOTONIC : clock, arg,
					  reads_as_command);
}

static bool restart_of_cpu_clock(const struct restart_block *kept,
				 const unsigned long arg[6],
				 bool reads_as_command)
{
	clockid_t clock = arg[0];

	if (clock == CLOCK_PROCESS_CPUTIME_ID)
		clock = RESTART_PROCESS_CLOCK;
	/* Those of single processes are below 0, and there are no others. */
	return clock < 0 && restart_is_clock_nanosleep(kept, clock, arg,
						       reads_as_command);
}

static bool restart_of_alarm(const struct restart_block *kept,
			     const unsigned long arg[6],
			     bool reads_as_command)
{
	clockid_t clock = arg[0];

	if (clock != CLOCK_REALTIME_ALARM && clock != CLOCK_BOOTTIME_ALARM)
		return false;
	return restart_is_clock_nanosleep(kept, clock == CLOCK_BOOTTIME_ALARM,
					  arg, reads_as_command);
}

static bool restart_of_poll(const struct restart_block *kept,
			    const unsigned long arg[6],
			    bool reads_as_command)
{
	return arg[0] == (unsigned long)kept->poll.ufds &&
	       (int)arg[1] == kept->poll.nfds &&
	       ((int)arg[2] >= 0) == kept->poll.has_timeout;
}

static bool restart_of_futex(const struct restart_block *kept,
			     const unsigned long arg[6],
			     bool reads_as_command)
{
	int op = arg[1] & FUTEX_CMD_MASK;

	return restart_is_request(arg[0], reads_as_command) &&
	       arg[0] == (unsigned long)kept->futex.uaddr &&
	       (op == FUTEX_WAIT || op == FUTEX_WAIT_BITSET) &&
	       (u32)arg[2] == kept->futex.val;
}

static const struct restart {
	const char *function;
	bool (*agrees)(const struct restart_block *kept,
		       const unsigned long arg[6], bool reads_as_command);
} restarts[] = {
	{ "hrtimer_nanosleep_restart", restart_of_hrtimer },
	{ "posix_cpu_nsleep_restart", restart_of_cpu_clock },
	{ "alarm_timer_nsleep_restart", restart_of_alarm },
	{ "do_restart_poll", restart_of_poll },
	{ "futex_wait_restart", restart_of_futex },
};

/* Can a process sleep by that clock? CPU clocks are below 0, but for one. */
static bool restart_has_clock(clockid_t clock)
{
	switch (clock) {
	case CLOCK_REALTIME:
	case CLOCK_MONOTONIC:
	case CLOCK_PROCESS_CPUTIME_ID:
	case CLOCK_BOOTTIME:
	case CLOCK_REALTIME_ALARM:
	case CLOCK_BOOTTIME_ALARM:
	case CLOCK_TAI:
		return true;
	default:
		return clock < 0;
	}
}

/*
 * What was kept may be another sleep's. Is there an address, in use, where a
 * command has its own number, as nanosleep(), poll() and futex() have it, or
 * the number of a process, as clock_nanosleep() has it? No clock is a command
 * with which that number counts.
 */
static bool restart_has_address(const unsigned long arg[6],
				bool reads_as_command)
{
	if (restart_is_mapped(arg[0], arg[0] >= RESTART_LOWEST))
		return true;
	return restart_has_clock(arg[0]) && restart_has_flags(arg) &&
	       restart_is_mapped(arg[2], !reads_as_command);
}

/*
 * Has a sleep of this process been interrupted, or of the one that it was forked
 * from? Nothing but zeros is kept of poll(NULL, 0, -1) alone.
 */
static bool restart_was_kept(const struct restart_block *kept)
{
	const void *begin = &kept->futex, *end = kept + 1;

	return memchr_inv(begin, 0, end - begin);
}

bool is_restart(const unsigned long arg[6], bool reads_as_command)
{
	const struct restart_block *kept = &current->restart_block;
	bool is_idle = kept->fn == init_task.restart_block.fn;
	char function[KSYM_SYMBOL_LEN];
	bool is_known = false, fits;
	int i;

	if (is_idle && !restart_was_kept(kept))
		return restart_of_poll(kept, arg, reads_as_command);
	if (!is_idle)
		sprint_symbol_no_offset(function, (unsigned long)kept->fn);
	for (i = 0; i < ARRAY_SIZE(restarts); i++) {
		fits = is_idle || !strcmp(function, restarts[i].function);
		if (fits && restarts[i].agrees(kept, arg, reads_as_command))
			return true;
		is_known |= fits;
	}
	return is_known ? restart_has_address(arg, reads_as_command) :
			  !reads_as_command;
}
