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
 * log_allows_users() - May another line be logged for what users monitor?
 * @limit: lines a second; 0: no limit.
 *
 * So that users can't fill the kernel log. Doesn't sleep.
 */
bool log_allows_users(unsigned int limit);

#endif /* INTERCEPTOR_LOG_H */
