/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The interface of the system call interceptor, for the module and for user
 * programs alike:
 *
 *	long my_syscall(int cmd, int syscall, int pid);
 *
 *	syscall(MY_CUSTOM_SYSCALL, cmd, syscall, pid);
 */
#ifndef INTERCEPTOR_H
#define INTERCEPTOR_H

#ifdef __KERNEL__
#include <asm/unistd.h>
#else
#include <sys/syscall.h>
#endif

/* The system call that becomes my_syscall(): 0 on i386, 219 on amd64, 128 on arm64. */
#define MY_CUSTOM_SYSCALL		__NR_restart_syscall

/* cmd: route system call `syscall` through the interceptor, or give it back. */
#define REQUEST_SYSCALL_INTERCEPT	1
#define REQUEST_SYSCALL_RELEASE		2
/* cmd: log each call of `syscall` by process `pid` (0: by everybody), or stop. */
#define REQUEST_START_MONITORING	3
#define REQUEST_STOP_MONITORING		4

/* What is intercepted and who is monitored: one line for each such call. */
#define INTERCEPTOR_STATUS		"/proc/interceptor"

/*
 * One line of the kernel log: pid, system call, its six argument registers. A
 * call by the 32-bit ABI of an amd64 kernel has " i386" behind that.
 */
#define INTERCEPTOR_LOG_LINE		"[%x]%lx(%lx,%lx,%lx,%lx,%lx,%lx)"

#endif /* INTERCEPTOR_H */
