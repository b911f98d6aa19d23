// SPDX-License-Identifier: GPL-2.0
/*
 * The first and only program of the machine that pyharness bench measures on.
 *
 * QEMU's -icount makes the clock advance one nanosecond an instruction, so that
 * a time is a count of instructions. Each figure is the least of many rounds,
 * each shorter than a timer tick: that one saw no interrupt.
 *
 * It prints a line for each figure, "bench: STATE CALL INSTRUCTIONS".
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "interceptor.h"

#define ROUNDS	60
#define CALLS	1000
#define FEW	100	/* of calls that cost more than 4,000 instructions */
#define MANY	30000

#define LOG	"/sys/module/interceptor/parameters/log"
#define EVENTS	"/tracing/instances/bench"

static void die(const char *what)
{
	printf("bench: failed: %s: %s\n", what, strerror(errno));
	reboot(RB_AUTOBOOT);
}

static long command(int cmd, int number, int pid)
{
	return syscall(MY_CUSTOM_SYSCALL, cmd, number, pid);
}

static void must(long result, const char *what)
{
	if (result)
		die(what);
}

static inline long raw(long number)
{
	long result;

#if defined(__i386__)
	asm volatile("int $0x80" : "=a" (result) : "0" (number) : "memory");
#else
	result = syscall(number);
#endif
	return result;
}

static long long now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC_RAW, &time);
	return time.tv_sec * 1000000000LL + time.tv_nsec;
}

static double cost(long number, int calls)
{
	long long least = -1, begin, took;
	int round, i;

	for (round = 0; round < ROUNDS; round++) {
		begin = now();
		for (i = 0; i < calls; i++)
			raw(number);
		took = now() - begin;
		if (least < 0 || took < least)
			least = took;
	}
	return (double)least / calls;
}

/* The call that is intercepted, and one that isn't. */
static void measure(const char *state)
{
	printf("bench: %s null %.2f\n", state, cost(SYS_getppid, CALLS));
	printf("bench: %s other %.2f\n", state, cost(SYS_getpgrp, CALLS));
}

static void measure_dear(const char *state)
{
	printf("bench: %s null %.2f\n", state, cost(SYS_getppid, FEW));
	printf("bench: %s other %.2f\n", state, cost(SYS_getpgrp, FEW));
}

/*
 * Threads that do nothing at all and need no stack: what they run on is shared,
 * as they never touch it. They write their ids where the caller asks for them.
 */
static int *make_threads(int count)
{
	const unsigned long flags = CLONE_VM | CLONE_FS | CLONE_FILES |
				    CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM;
	int *ids = mmap(NULL, (count + 1) * sizeof(*ids), PROT_READ | PROT_WRITE,
			MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int i;

	if (ids == MAP_FAILED)
		die("mmap");
	if (fork())
		return ids;
	for (i = 0; i < count; i++) {
		long id;

#if defined(__i386__)
		asm volatile("int $0x80\n\t"
			     "test %%eax, %%eax\n\t"
			     "jnz 2f\n"
			     "1:\tmov %[pause], %%eax\n\t"
			     "int $0x80\n\t"
			     "jmp 1b\n"
			     "2:"
			     : "=a" (id)
			     : "0" (SYS_clone), "b" (flags), "c" (0), "d" (0),
			       "S" (0), "D" (0), [pause] "i" (SYS_pause)
			     : "memory");
#elif defined(__x86_64__)
		asm volatile("syscall\n\t"
			     "test %%rax, %%rax\n\t"
			     "jnz 2f\n"
			     "1:\tmov %[pause], %%eax\n\t"
			     "syscall\n\t"
			     "jmp 1b\n"
			     "2:"
			     : "=a" (id)
			     : "0" (SYS_clone), "D" (flags), "S" (0), "d" (0),
			       [pause] "i" (SYS_pause)
			     : "rcx", "r11", "memory");
#elif defined(__aarch64__)
		register long x0 asm("x0") = flags;
		register long x1 asm("x1") = 0;
		register long x2 asm("x2") = 0;
		register long x3 asm("x3") = 0;
		register long x8 asm("x8") = SYS_clone;

		asm volatile("svc #0\n\t"
			     "cbnz x0, 2f\n\t"
			     "mov x8, %[ppoll]\n"
			     "1:\tmov x0, #0\n\t"
			     "svc #0\n\t"
			     "b 1b\n"
			     "2:"
			     : "+r" (x0)
			     : "r" (x1), "r" (x2), "r" (x3), "r" (x8),
			       [ppoll] "i" (SYS_ppoll)
			     : "memory");
		id = x0;
#endif
		if (id < 0) {
			ids[count] = -1;
			die("clone");
		}
		ids[i] = id;
	}
	ids[count] = 1;
	for (;;)
		pause();
}

static void write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		die(path);
	close(fd);
}

static void read_file(const char *path)
{
	int fd = open(path, O_RDONLY);
	char text[64];

	if (fd < 0 || read(fd, text, sizeof(text)) < 0)
		die(path);
	close(fd);
}

static void load(void)
{
	int fd = open("/interceptor.ko", O_RDONLY | O_CLOEXEC);

	must(syscall(SYS_finit_module, fd, "", 0), "finit_module");
	close(fd);
}

static void monitor(const int *ids, int count)
{
	/* The last ones first: the deepest place of any index, the dearest. */
	while (count--)
		must(command(REQUEST_START_MONITORING, SYS_getppid, *ids--),
		     "start");
}

static void intercept_all(int cmd, int *done)
{
	int number;

	for (number = 0; number < 1024; number++) {
		if (cmd == REQUEST_SYSCALL_RELEASE && !done[number])
			continue;
		done[number] = !command(cmd, number, 0);
	}
}

/* The caller's calls, recorded in each way, and by the kernel's own event. */
static void record(void)
{
	char pid[16];

	snprintf(pid, sizeof(pid), "%d", getpid());
	must(mkdir(EVENTS, 0700), "mkdir");
	must(command(REQUEST_SYSCALL_INTERCEPT, SYS_getppid, 0), "intercept");
	must(command(REQUEST_START_MONITORING, SYS_getppid, getpid()), "start");
	measure_dear("printk");
	write_file(LOG, "event");
	measure("event-disabled");
	write_file(EVENTS "/events/interceptor/syscall/enable", "1");
	measure("event");
	write_file(EVENTS "/events/interceptor/syscall_exit/enable", "1");
	read_file(INTERCEPTOR_STATUS);	/* waits until the tracepoint is registered */
	measure("event-exit");
	write_file(EVENTS "/events/interceptor/enable", "0");
	read_file(INTERCEPTOR_STATUS);
	write_file(LOG, "ring");
	measure("ring");
	write_file(LOG, "printk");
	must(command(REQUEST_SYSCALL_RELEASE, SYS_getppid, 0), "release");

	write_file(EVENTS "/set_event_pid", pid);
	write_file(EVENTS "/events/syscalls/sys_enter_getppid/enable", "1");
	measure("ftrace-event");
	write_file(EVENTS "/events/syscalls/sys_enter_getppid/enable", "0");
	must(rmdir(EVENTS), "rmdir");
}

/* A process that is monitored, and ends. */
static void monitor_one_that_ends(void)
{
	int pid = fork();
	int status;

	if (!pid)
		for (;;)
			pause();
	must(command(REQUEST_START_MONITORING, SYS_getppid, pid), "start");
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	read_file(INTERCEPTOR_STATUS);	/* waits until the entry is gone */
}

static void bench(const int *ids)
{
	static int done[1024];
	const int *last = ids + MANY - 1;

	measure("base");
	load();
	measure("loaded");

	must(command(REQUEST_SYSCALL_INTERCEPT, SYS_getppid, 0), "intercept");
	measure("intercepted");
	monitor_one_that_ends();
	measure("ended");
	monitor(last, 1);
	measure("monitored-1");
	monitor(last - 1, 99);
	measure("monitored-100");
	monitor(last - 100, MANY - 100);
	measure("monitored-30000");
	must(command(REQUEST_SYSCALL_RELEASE, SYS_getppid, 0), "release");
	measure("released");

	record();
	measure("not-recorded");

	intercept_all(REQUEST_SYSCALL_INTERCEPT, done);
	measure("all-intercepted");
	monitor(last, 1);
	measure("all-intercepted-monitored-1");
	intercept_all(REQUEST_SYSCALL_RELEASE, done);
	measure("all-released");

	must(syscall(SYS_delete_module, "interceptor", 0), "delete_module");
	measure("unloaded");
}

int main(void)
{
	int *ids;
	int status;

	setvbuf(stdout, NULL, _IOLBF, 0);
	mount("proc", "/proc", "proc", 0, NULL);
	mount("sysfs", "/sys", "sysfs", 0, NULL);
	mount("tracefs", "/tracing", "tracefs", 0, NULL);
	write_file("/proc/sys/kernel/threads-max", "40000");
	write_file("/proc/sys/kernel/printk", "1");
	sleep(3);	/* what the kernel starts at boot has ended by then */

	ids = make_threads(MANY);
	while (!((volatile int *)ids)[MANY])
		usleep(10000);
	if (ids[MANY] < 0)
		die("threads");
	/* The caller is a process with a number as high as any. */
	if (!fork()) {
		bench(ids);
		printf("bench: done\n");
		_exit(0);
	}
	wait(&status);
	reboot(RB_AUTOBOOT);
	return 0;
}
