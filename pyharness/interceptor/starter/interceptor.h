/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The interface of the module, for the module and for user programs:
 *
 *	syscall(MY_CUSTOM_SYSCALL, cmd, syscall, pid);
 */
#ifndef INTERCEPTOR_H
#define INTERCEPTOR_H

/* The system call that the module takes for its commands: restart_syscall. */
#define MY_CUSTOM_SYSCALL		0

/* The commands. */
#define REQUEST_SYSCALL_INTERCEPT	1
#define REQUEST_SYSCALL_RELEASE		2
#define REQUEST_START_MONITORING	3
#define REQUEST_STOP_MONITORING		4

/* One line of the kernel log: pid, system call, and its six arguments. */
#define LOG_LINE			"[%x]%lx(%lx,%lx,%lx,%lx,%lx,%lx)\n"

#endif /* INTERCEPTOR_H */
