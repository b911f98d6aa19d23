/* SPDX-License-Identifier: GPL-2.0 */
#ifndef INTERCEPTOR_RESTART_H
#define INTERCEPTOR_RESTART_H

#include <linux/types.h>

/**
 * is_restart() - Is the current system call a restart that the kernel has prepared?
 * @arg: its arguments.
 * @reads_as_command: by its first two arguments it could be a command that is
 *	carried out.
 *
 * Doesn't sleep. restart.c has the decision as a table.
 */
bool is_restart(const unsigned long arg[6], bool reads_as_command);

#endif /* INTERCEPTOR_RESTART_H */
