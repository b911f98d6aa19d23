// SPDX-License-Identifier: GPL-2.0
/* Where monitored calls are recorded, and how many lines of the kernel log they may have. */
#include <linux/jiffies.h>
#include <linux/log2.h>
#include <linux/moduleparam.h>
#include <linux/mutex.h>
#include <linux/printk.h>
#include <linux/sched.h>
#include <linux/spinlock.h>
#include <linux/string.h>
#include <asm/syscall.h>

#include "abi.h"
#include "interceptor.h"
#include "log.h"
#include "ring.h"

#define CREATE_TRACE_POINTS
#include "events.h"

/* ---- The parameters ---- */

/* The values of log, each at its set of channels. */
static const char * const log_names[] = {
	[LOG_PRINTK] = "printk",
	[LOG_EVENT] = "event",
	[LOG_PRINTK | LOG_EVENT] = "both",
	[LOG_RING] = "ring",
};

unsigned int log_chosen;
static unsigned int log_parameter = LOG_PRINTK;
static enum { LOG_NOT_YET, LOG_BEGUN, LOG_ENDED } log_state;
static DEFINE_MUTEX(log_lock);		/* protects all of these */

static unsigned int ring_records = 8192;
module_param(ring_records, uint, 0444);
MODULE_PARM_DESC(ring_records, "how many calls each CPU's ring has, a power of two (default 8192)");

static int log_choose(unsigned int channels)
{
	int err = 0;

	lockdep_assert_held(&log_lock);
	if (channels & LOG_RING)
		err = ring_create(ring_records);
	if (err)
		return err;
	/* Pairs with log_channels(). */
	smp_store_release(&log_chosen, channels);
	return 0;
}

static int log_set(const char *value, const struct kernel_param *parameter)
{
	unsigned int channels;
	int err = 0;

	for (channels = 1; channels < ARRAY_SIZE(log_names); channels++)
		if (log_names[channels] && sysfs_streq(value, log_names[channels]))
			break;
	if (channels == ARRAY_SIZE(log_names)) {
		pr_err("there is no log=%.*s: it is printk, event, both or ring\n",
		       (int)strcspn(value, "\n"), value);
		return -EINVAL;
	}
	mutex_lock(&log_lock);
	if (log_state == LOG_BEGUN)
		err = log_choose(channels);
	else if (log_state == LOG_ENDED)
		err = -ENODEV;
	if (!err)
		log_parameter = channels;
	mutex_unlock(&log_lock);
	return err;
}

static int log_get(char *text, const struct kernel_param *parameter)
{
	return scnprintf(text, PAGE_SIZE, "%s\n", log_names[READ_ONCE(log_parameter)]);
}

static const struct kernel_param_ops log_operations = {
	.set = log_set,
	.get = log_get,
};
module_param_cb(log, &log_operations, NULL, 0644);
__MODULE_PARM_TYPE(log, "printk|event|both|ring");
MODULE_PARM_DESC(log, "where monitored calls are recorded: printk (default), event (the trace event interceptor:syscall), both, or ring (/dev/interceptor)");

int __init log_check(void)
{
	if (!is_power_of_2(ring_records) || ring_records < INTERCEPTOR_RING_WAKES ||
	    ring_records > INTERCEPTOR_RING_MOST) {
		pr_err("not loaded: ring_records=%u: it is a power of two, from %u to %u\n",
		       ring_records, INTERCEPTOR_RING_WAKES, INTERCEPTOR_RING_MOST);
		return -EINVAL;
	}
	return 0;
}

int __init log_begin(void)
{
	int err;

	mutex_lock(&log_lock);
	err = log_choose(log_parameter);
	if (!err)
		log_state = LOG_BEGUN;
	mutex_unlock(&log_lock);
	if (err)
		pr_err("not loaded: no memory or no device for log=ring (%pe)\n", ERR_PTR(err));
	else
		exit_event_begin();
	return err;
}

void log_end(void)
{
	mutex_lock(&log_lock);
	log_state = LOG_ENDED;
	log_chosen = 0;
	mutex_unlock(&log_lock);
	exit_event_end();
	ring_destroy();
}

/* ---- The kernel log ---- */

/* How often it is said that lines are left out. */
#define LOG_NOTICE	(10 * HZ)

/*
 * The second in which lines for users are counted, and how many it has.
 * Omissions are reported at most once per LOG_NOTICE.
 *
 * A ratelimit_state would say no where another CPU holds its lock, whatever the
 * limit is. Hooks may run with interrupts off (a kprobe of arm64), hence raw.
 */
static DEFINE_RAW_SPINLOCK(log_lines_lock);
static u64 log_second, log_noticed;
static unsigned int log_lines;

/* Count a line, and say whether it may be logged. Doesn't sleep. */
static bool log_take_line(unsigned int limit)
{
	bool allowed, notice = false;
	unsigned long flags;
	u64 now;

	if (!limit)
		return true;
	raw_spin_lock_irqsave(&log_lines_lock, flags);
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
	raw_spin_unlock_irqrestore(&log_lines_lock, flags);
	if (notice)
		pr_notice("calls that users monitor are left out of the log: more than %u a second (user_lines=%u)\n",
			  limit, limit);
	return allowed;
}

/* The line has no prefix: interceptor.h has its form. */
static noinline void log_line(struct pt_regs *regs)
{
	unsigned long arg[6];

	abi_arguments(regs, arg);
	printk(KERN_DEBUG INTERCEPTOR_LOG_LINE "%s\n", current->pid,
	       (unsigned long)syscall_get_nr(current, regs),
	       arg[0], arg[1], arg[2], arg[3], arg[4], arg[5],
	       abi_current()->mark);
}

/* ---- Each monitored call ---- */

noinline void log_call(struct pt_regs *regs, unsigned int channels, unsigned int limit)
{
	if (channels & LOG_RING)
		ring_write(regs);
	if (channels & LOG_EVENT)
		trace_syscall(regs);
	if (!(channels & LOG_PRINTK))
		return;
	/*
	 * On PREEMPT_RT (6.1) printk() may wait for the console's spinlock, which
	 * counts as sleeping: unloading would not wait for a task that does so in
	 * here (hook_barrier()). With preemption off, it leaves that to others.
	 */
	preempt_disable();
	if (log_take_line(limit))
		log_line(regs);
	preempt_enable();
}
