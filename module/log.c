// SPDX-License-Identifier: GPL-2.0
/* The lines about calls in the kernel log, and how many there may be. */
#include <linux/jiffies.h>
#include <linux/printk.h>
#include <linux/sched.h>
#include <linux/spinlock.h>
#include <asm/syscall.h>

#include "abi.h"
#include "interceptor.h"
#include "log.h"

/* How often it is said that lines are left out. */
#define LOG_NOTICE	(10 * HZ)

/*
 * The second in which lines for users are counted, and how many it has.
 * Omissions are reported at most once per LOG_NOTICE.
 *
 * A ratelimit_state would say no where another CPU holds its lock, whatever the
 * limit is. Hooks may run with interrupts off (a kprobe of arm64), hence raw.
 */
static DEFINE_RAW_SPINLOCK(log_lock);
static u64 log_second, log_noticed;
static unsigned int log_lines;

/* The line has no prefix: interceptor.h has its form. */
noinline void log_call(struct pt_regs *regs)
{
	unsigned long arg[6];

	abi_arguments(regs, arg);
	printk(KERN_DEBUG INTERCEPTOR_LOG_LINE "%s\n", current->pid,
	       (unsigned long)syscall_get_nr(current, regs),
	       arg[0], arg[1], arg[2], arg[3], arg[4], arg[5],
	       abi_current()->mark);
}

bool log_take_user_line(unsigned int limit)
{
	bool allowed, notice = false;
	unsigned long flags;
	u64 now;

	if (!limit)
		return true;
	raw_spin_lock_irqsave(&log_lock, flags);
	now = get_jiffies_64();
	if (now >= log_second + HZ) {
		log_second = now;
		log_lines = 0;
	}
	allowed = log_lines < limit;
	if (allowed) {
		log_lines++;
	} else if (now >= log_noticed + LOG_NOTICE) {
		log_noticed = now;
		notice = true;
	}
	raw_spin_unlock_irqrestore(&log_lock, flags);
	if (notice)
		pr_notice("calls that users monitor are left out of the log: more than %u a second (user_lines=%u)\n",
			  limit, limit);
	return allowed;
}
