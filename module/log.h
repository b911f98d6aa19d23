/* SPDX-License-Identifier: GPL-2.0 */
#ifndef INTERCEPTOR_LOG_H
#define INTERCEPTOR_LOG_H

#include <linux/ptrace.h>

#include "events.h"

/* Where monitored calls are recorded: the values of the parameter log are sets of these. */
#define LOG_PRINTK	1	/* a line of the kernel log */
#define LOG_EVENT	2	/* the trace event interceptor:syscall */
#define LOG_RING	4	/* the memory that readers map: ring.h */

extern unsigned int log_chosen;

/* Where a monitored call is to be recorded now: nowhere if nobody has enabled the event. */
static __always_inline unsigned int log_channels(void)
{
	/* Pairs with log_choose(): the rings were there before LOG_RING. */
	unsigned int channels = smp_load_acquire(&log_chosen);

	if (!trace_syscall_enabled())
		channels &= ~LOG_EVENT;
	return channels;
}

/**
 * log_call() - Record the system call that the current task has issued.
 * @regs: its registers, before the call is carried out.
 * @channels: where, by log_channels().
 * @limit: how many lines a second the kernel log takes of such calls, all together;
 *	0: no limit. It keeps users from filling the kernel log.
 */
void log_call(struct pt_regs *regs, unsigned int channels, unsigned int limit);

/**
 * log_check() - Check the parameters that can't be changed later.
 *
 * Return: 0, or -EINVAL, whose reason is logged.
 */
int __init log_check(void);

/**
 * log_begin() - Prepare what the parameters choose. From now on they can be changed.
 *
 * It is the last step of loading: a module whose load fails is freed, even if
 * somebody has opened the device, or enabled an event.
 *
 * Return: 0 or an error, whose reason is logged.
 */
int __init log_begin(void);

/* Nothing is recorded any more: no hook is left. The parameters can't be changed any more. */
void log_end(void);

#endif /* INTERCEPTOR_LOG_H */
