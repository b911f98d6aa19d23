/* SPDX-License-Identifier: GPL-2.0 */
#ifndef INTERCEPTOR_LOG_H
#define INTERCEPTOR_LOG_H

#include <linux/ptrace.h>

/**
 * log_call() - Log the system call that the current task has issued.
 * @regs: its registers, before the call is carried out.
 */
void log_call(struct pt_regs *regs);

/**
 * log_take_user_line() - Count a line for what users monitor.
 * @limit: lines a second; 0: no limit.
 *
 * The limit keeps users from filling the kernel log. Doesn't sleep.
 *
 * Return: whether the line may be logged.
 */
bool log_take_user_line(unsigned int limit);

#endif /* INTERCEPTOR_LOG_H */
