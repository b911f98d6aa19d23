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

#include <linux/types.h>
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

/*
 * The device of log=ring, to be opened for reading and mapped, by root. Its memory:
 *
 *	struct interceptor_rings	at 0
 *	struct interceptor_ring		at first + stride * cpu
 *	struct interceptor_record	at first + stride * cpu + data +
 *					record_size * (index % records)
 *
 * A CPU's records have the indices from 0 on; those below head are written, and at
 * most the last `records` of them are still there. Load head with acquire, copy a
 * record, and load head again behind an acquire fence: if head - index >= records,
 * the record was overwritten meanwhile, and is to be counted as lost. On a 32-bit
 * kernel the indices wrap.
 *
 * poll() returns POLLIN once a CPU has written another INTERCEPTOR_RING_WAKES
 * records since the last read() of the file. That returns, as a __u64, how often it
 * has happened, and never waits. For fewer records, look each now and then.
 */
#define INTERCEPTOR_RING		"/dev/interceptor"
#define INTERCEPTOR_RING_VERSION	1
#define INTERCEPTOR_RING_WAKES		256
#define INTERCEPTOR_RING_MOST		1048576	/* records */

struct interceptor_rings {
	__u32 version;
	__u32 cpus;
	__u32 records;			/* of each CPU: a power of two */
	__u32 record_size;		/* 64 bytes, or 40 of a 32-bit kernel */
	__u32 first;
	__u32 stride;
	__u32 data;
};

struct interceptor_ring {
	unsigned long head;		/* how many records were written */
};

struct interceptor_record {
	__u64 time;			/* of CLOCK_MONOTONIC, in ns */
	__u32 pid;			/* of the thread */
	__u16 nr;			/* without the bit of the x32 ABI */
	__u8 abi;			/* 1: the 32-bit ABI of an amd64 kernel */
	__u8 lap;			/* index / records, its lowest byte */
	unsigned long args[6];
};

#endif /* INTERCEPTOR_H */
