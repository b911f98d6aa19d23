// SPDX-License-Identifier: GPL-2.0
/*
 * Sleeps by raw system calls, with what is awkward in each register, and
 * interrupted in each way there is, as root:
 *
 *	restarts list
 *	restarts SLEEP
 *	restarts storm SECONDS
 *
 * The first prints the names of the sleeps that this machine has. The second
 * lets a process sleep for each way, and prints a line for each: the way, the
 * result, errno, and the milliseconds of the sleep's clock that it was to take
 * and that it took; or nothing but the way where that sleep can't be interrupted in it, or nobody
 * can tell a restart from a command.
 *
 * The third has a process sleep in a loop, with a timer whose handler runs now
 * and then between the kernel's decision to restart and the instruction, while
 * it is stopped and continued. It prints how many sleeps there were, and each
 * result that is neither 0 nor EINTR.
 */
#define _GNU_SOURCE
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/*
 * Of a sleep at first. It is twice as long each time that the machine was too
 * slow to interrupt it before its end.
 */
#define LENGTH_MS	300
#define TRIES		6
#define MS_NS		1000000L
#define PAGE		4096UL
#define GROUP		"/sys/fs/cgroup/restarts"

/* Where the sleepers have their memory: every ABI can address it. */
#define MEMORY		0x10000000UL
#define REM		(MEMORY + PAGE)	/* stays where the request is unmapped */
#define WORD		(MEMORY + PAGE + 512)
#define MOMENT		(MEMORY + PAGE + 1024)
#define REQUEST		MEMORY
#define HIGH		0x500000004UL	/* 4, when it is cut to 32 bits */
#define UPPER		0x700000000UL
#define LOW		0x10000UL	/* as small as a process number */

enum abi { NATIVE, IA32 };
enum format { BITS_32, BITS_64 };
#define LONGS (sizeof(long) == 8 ? BITS_64 : BITS_32)

#define OWN_CLOCK	-1000	/* the CPU clock of this process, by its pid */

struct sleep {
	const char *name;
	enum abi abi;
	long number;
	unsigned long arg[6];
	unsigned long request;		/* 0: the length is the third argument */
	enum format format;
	clockid_t clock;
	bool absolute;
};

#define CLOCK_SLEEP(name, which, flags, rem)				\
	{ name, NATIVE, SYS_clock_nanosleep,				\
	  { which, flags, REQUEST, rem }, REQUEST, LONGS,		\
	  (clockid_t)(which), false }
#define LOW_SLEEP(name, which, rem)					\
	{ name, NATIVE, SYS_clock_nanosleep, { which, 0, LOW, rem }, LOW,	\
	  LONGS, which, false }
#define ABSOLUTE(name, which)						\
	{ name, NATIVE, SYS_clock_nanosleep,				\
	  { which, TIMER_ABSTIME, REQUEST, REM }, REQUEST, LONGS, which, true }
#define NANOSLEEP(name, request, rem)					\
	{ name, NATIVE, SYS_nanosleep, { request, rem }, request, LONGS,	\
	  CLOCK_MONOTONIC, false }
#define POLL(name, fds)							\
	{ name, NATIVE, SYS_poll, { fds, 0, 0 }, 0, LONGS,	\
	  CLOCK_MONOTONIC, false }
#define FUTEX(name, uaddr, op)						\
	{ name, NATIVE, SYS_futex,					\
	  { uaddr, op, 0, REQUEST, 0, ~0U }, REQUEST, LONGS,		\
	  CLOCK_MONOTONIC, (op) == 9 }

static const struct sleep sleeps[] = {
	NANOSLEEP("nanosleep", REQUEST, 0),
	NANOSLEEP("nanosleep-rem", REQUEST, REM),
	NANOSLEEP("nanosleep-at-1", 1, 0),
	NANOSLEEP("nanosleep-at-4", 4, 0),
	NANOSLEEP("nanosleep-low", LOW, 0),
	CLOCK_SLEEP("monotonic", CLOCK_MONOTONIC, 0, 0),
	CLOCK_SLEEP("monotonic-rem", CLOCK_MONOTONIC, 0, REM),
	CLOCK_SLEEP("realtime", CLOCK_REALTIME, 0, REM),
	CLOCK_SLEEP("boottime", CLOCK_BOOTTIME, 0, 0),
	CLOCK_SLEEP("boottime-flags", CLOCK_BOOTTIME, 38, REM),
	CLOCK_SLEEP("tai", CLOCK_TAI, 0, REM),
	CLOCK_SLEEP("realtime-alarm", CLOCK_REALTIME_ALARM, 0, 0),
	CLOCK_SLEEP("boottime-alarm", CLOCK_BOOTTIME_ALARM, 0, REM),
	CLOCK_SLEEP("cputime", CLOCK_PROCESS_CPUTIME_ID, 0, 0),
	CLOCK_SLEEP("cputime-rem", CLOCK_PROCESS_CPUTIME_ID, 0, REM),
	CLOCK_SLEEP("cputime-by-pid", OWN_CLOCK, 0, REM),
	CLOCK_SLEEP("cputime-by-pid-flags", OWN_CLOCK, 38, REM),
	LOW_SLEEP("monotonic-low", CLOCK_MONOTONIC, 0),
	LOW_SLEEP("realtime-low", CLOCK_REALTIME, REM),
	ABSOLUTE("monotonic-absolute", CLOCK_MONOTONIC),
	ABSOLUTE("realtime-absolute", CLOCK_REALTIME),
	ABSOLUTE("cputime-absolute", CLOCK_PROCESS_CPUTIME_ID),
	FUTEX("futex", WORD, 0),
	FUTEX("futex-private", WORD, 128),
	FUTEX("futex-bitset", WORD, 9),
	FUTEX("futex-at-4", 4, 0),
#ifdef SYS_poll
	POLL("poll", 0),
	POLL("poll-at-1", 1),
	POLL("poll-at-2", 2),
	POLL("poll-at-3", 3),
	POLL("poll-at-4", 4),
	POLL("poll-far-up", 0xbfff0000UL),
	POLL("poll-mapped", MEMORY),
#endif
#if __SIZEOF_LONG__ == 8
	NANOSLEEP("nanosleep-high", HIGH, 0),
	NANOSLEEP("nanosleep-high-rem", HIGH, REM),
	/* An int's high bits are nobody's. */
	CLOCK_SLEEP("monotonic-high-bits", 0x700000001L, 0x900000000L, 0),
#else
	{ "time64", NATIVE, SYS_clock_nanosleep_time64,
	  { CLOCK_MONOTONIC, 0, REQUEST, REM }, REQUEST, BITS_64,
	  CLOCK_MONOTONIC, false },
	{ "time64-flags", NATIVE, SYS_clock_nanosleep_time64,
	  { CLOCK_BOOTTIME, 38, REQUEST, 0 }, REQUEST, BITS_64,
	  CLOCK_BOOTTIME, false },
	{ "futex-time64", NATIVE, SYS_futex_time64,
	  { WORD, 0, 0, REQUEST }, REQUEST, BITS_64, CLOCK_MONOTONIC, false },
#endif
#ifdef __x86_64__
	{ "ia32-nanosleep", IA32, 162, { REQUEST, REM }, REQUEST, BITS_32,
	  CLOCK_MONOTONIC, false },
	{ "ia32-monotonic", IA32, 267, { CLOCK_MONOTONIC, 0, REQUEST, REM },
	  REQUEST, BITS_32, CLOCK_MONOTONIC, false },
	{ "ia32-boottime-flags", IA32, 267, { CLOCK_BOOTTIME, 38, REQUEST, REM },
	  REQUEST, BITS_32, CLOCK_BOOTTIME, false },
	{ "ia32-time64", IA32, 407, { CLOCK_BOOTTIME, 38, REQUEST, 0 },
	  REQUEST, BITS_64, CLOCK_BOOTTIME, false },
	{ "ia32-cputime", IA32, 267,
	  { CLOCK_PROCESS_CPUTIME_ID, 0, REQUEST, REM }, REQUEST, BITS_32,
	  CLOCK_PROCESS_CPUTIME_ID, false },
	{ "ia32-poll-at-4", IA32, 168, { 4, 0, 0 }, 0, BITS_32,
	  CLOCK_MONOTONIC, false },
	/* The upper halves of the registers are nobody's. */
	{ "ia32-upper-nanosleep", IA32, 162, { UPPER | REQUEST, UPPER | REM },
	  REQUEST, BITS_32, CLOCK_MONOTONIC, false },
	{ "ia32-upper-monotonic", IA32, 267,
	  { UPPER | CLOCK_MONOTONIC, UPPER, UPPER | REQUEST, UPPER | REM },
	  REQUEST, BITS_32, CLOCK_MONOTONIC, false },
	{ "ia32-upper-poll", IA32, 168, { UPPER | MEMORY, UPPER, UPPER }, 0,
	  BITS_32, CLOCK_MONOTONIC, false },
	{ "ia32-futex", IA32, 240, { WORD, 0, 0, REQUEST }, REQUEST, BITS_32,
	  CLOCK_MONOTONIC, false },
#endif
};

#define COUNT (sizeof(sleeps) / sizeof(sleeps[0]))

static long length_ms;

/* What the sleeper and its tormentor share. */
static volatile struct {
	int ready;	/* the thread beside the sleeper */
	int begun;
	long begin_ms;
	int unmapped;
	long result;
	int error;
	long took_ms;
	long sleeps;
	long odd;
	char said[1024];
} *shared;

static void fail(const char *what)
{
	perror(what);
	exit(2);
}

/* ---- The sleeper ---- */

static long issue_ia32(long number, const unsigned long arg[6])
{
	long result = -ENOSYS;

#ifdef __x86_64__
	asm volatile("push %%rbp\n\tpush %%rbx\n\tmov %1, %%rbx\n\t"
		     "xor %%ebp, %%ebp\n\tint $0x80\n\tpop %%rbx\n\tpop %%rbp"
		     : "=a" (result)
		     : "r" (arg[0]), "a" (number), "c" (arg[1]),
		       "d" (arg[2]), "S" (arg[3]), "D" (arg[4])
		     : "memory", "r8", "r9", "r10", "r11");
	result = (int)result;
#else
	(void)number;
	(void)arg;
#endif
	if (result >= 0)
		return result;
	errno = -result;
	return -1;
}

static long issue(const struct sleep *sleep, const unsigned long arg[6])
{
	errno = 0;
	if (sleep->abi == IA32)
		return issue_ia32(sleep->number, arg);
	return syscall(sleep->number, arg[0], arg[1], arg[2], arg[3], arg[4],
		       arg[5]);
}

static void *burn(void *unused)
{
	for (;;)
		;
	return unused;
}

/* Keep others from looking what is mapped. */
static void keep_locked(void *memory, size_t size)
{
	mprotect(memory, size, PROT_READ);
	mprotect(memory, size, PROT_READ | PROT_WRITE);
}

static void *populated(size_t size)
{
	return mmap(NULL, size, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
}

static void *lock(void *unused)
{
	const size_t size = 16 << 20;
	void *memory = populated(size);

	for (;; shared->ready = 1)
		keep_locked(memory, size);
	return unused;
}

/* As well, and the request is in memory that has to be read in again. */
static void *lock_and_drop(void *request)
{
	void *page = (void *)((unsigned long)request & ~(PAGE - 1));
	const size_t size = 16 << 20;
	void *memory = populated(size);

	for (;; shared->ready = 1) {
		madvise(page, PAGE, MADV_DONTNEED);
		keep_locked(memory, size);
	}
	return request;
}

/* Take the request away, of whoever sleeps by now. */
static void *unmap(void *request)
{
	shared->ready = 1;
	nanosleep(&(struct timespec){ 0, LENGTH_MS * MS_NS / 4 }, NULL);
	munmap((void *)((unsigned long)request & ~(PAGE - 1)), PAGE);
	shared->unmapped = 1;
	return NULL;
}

static bool is_cpu_clock(const struct sleep *sleep)
{
	return sleep->clock == CLOCK_PROCESS_CPUTIME_ID ||
	       sleep->clock == OWN_CLOCK;
}

/* The clock by which that process sleeps. */
static clockid_t clock_of(const struct sleep *sleep, pid_t pid)
{
	clockid_t clock = sleep->clock;

	if (is_cpu_clock(sleep))
		clock_getcpuclockid(pid, &clock);
	return clock;
}

static void write_request(const struct sleep *sleep)
{
	struct timespec until = { 0, 0 };
	int64_t seconds, ns = (int64_t)length_ms * MS_NS;

	if (!sleep->request)
		return;
	if (sleep->absolute)
		clock_gettime(clock_of(sleep, getpid()), &until);
	ns += until.tv_nsec;
	seconds = until.tv_sec + ns / (1000 * MS_NS);
	ns %= 1000 * MS_NS;
	if (sleep->format == BITS_64) {
		memcpy((void *)sleep->request, &seconds, 8);
		memcpy((void *)(sleep->request + 8), &ns, 8);
	} else {
		memcpy((void *)sleep->request, &(int32_t){ seconds }, 4);
		memcpy((void *)(sleep->request + 4), &(int32_t){ ns }, 4);
	}
}

/* Shared: what is dropped of it, and read in again, is what it was. */
static bool map(unsigned long at)
{
	void *where = (void *)(at & ~(PAGE - 1));

	return mmap(where, PAGE, PROT_READ | PROT_WRITE,
		    MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == where;
}

static long now_ms(clockid_t clock)
{
	struct timespec now = { 0, 0 };

	clock_gettime(clock, &now);
	return now.tv_sec * 1000 + now.tv_nsec / MS_NS;
}

static void handle(int signal)
{
	(void)signal;
}

static void handle_and_sleep(int signal)
{
	struct timespec moment = { 0, MS_NS }, rem;

	(void)signal;
	clock_nanosleep(CLOCK_MONOTONIC, 0, &moment, &rem);
}

static void set_handler(void (*handler)(int))
{
	struct sigaction action = { .sa_handler = handler, .sa_flags = SA_RESTART };

	sigaction(SIGALRM, &action, NULL);
}

static void sleep_once(const struct sleep *sleep, void *(*meanwhile)(void *))
{
	const clockid_t clock = clock_of(sleep, getpid());
	unsigned long arg[6];
	pthread_t thread;

	memcpy(arg, sleep->arg, sizeof(arg));
	if (sleep->clock == OWN_CLOCK)
		arg[0] = clock;
	if (!sleep->request)
		arg[2] |= length_ms;
	if (is_cpu_clock(sleep))
		pthread_create(&thread, NULL, burn, NULL);
	if (meanwhile)
		pthread_create(&thread, NULL, meanwhile, (void *)sleep->request);
	while (meanwhile && !shared->ready)
		sched_yield();
	shared->begin_ms = now_ms(clock);
	write_request(sleep);
	shared->begun = 1;
	shared->result = issue(sleep, arg);
	shared->error = errno;
	shared->took_ms = now_ms(clock) - shared->begin_ms;
	_exit(0);
}

/* ---- Its tormentor ---- */

static char state_of(pid_t pid)
{
	char path[64], text[512] = "";
	const char *end;
	int file;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	file = open(path, O_RDONLY);
	if (file < 0 || read(file, text, sizeof(text) - 1) < 0)
		return 'X';
	close(file);
	end = strrchr(text, ')');
	return end ? end[2] : 'X';
}

static void pause_ms(long ms)
{
	nanosleep(&(struct timespec){ 0, ms * MS_NS }, NULL);
}

static bool wait_for(pid_t pid, char state)
{
	char found;

	while ((found = state_of(pid)) != state) {
		if (found == 'Z' || found == 'X')
			return false;
		pause_ms(1);
	}
	return true;
}

static void stop(pid_t pid)
{
	kill(pid, SIGSTOP);
	if (wait_for(pid, 'T'))
		kill(pid, SIGCONT);
}

/* Is it stopped for its tracer now? It may have come to its end instead. */
static bool is_stopped(pid_t pid)
{
	int status;

	return waitpid(pid, &status, __WALL) == pid && WIFSTOPPED(status);
}

static void attach(pid_t pid)
{
	if (!ptrace(PTRACE_ATTACH, pid, 0, 0) && is_stopped(pid))
		ptrace(PTRACE_DETACH, pid, 0, 0);
}

static void put(const char *path, const char *text)
{
	int file = open(path, O_WRONLY);

	if (file < 0 || write(file, text, strlen(text)) < 0)
		fail(path);
	close(file);
}

static bool is_frozen(void)
{
	char text[256] = "";
	int file = open(GROUP "/cgroup.events", O_RDONLY);

	if (file < 0 || read(file, text, sizeof(text) - 1) < 0)
		fail("cgroup.events");
	close(file);
	return strstr(text, "frozen 1");
}

static void freeze(pid_t pid)
{
	char text[16];

	snprintf(text, sizeof(text), "%d", pid);
	put(GROUP "/cgroup.procs", text);
	put(GROUP "/cgroup.freeze", "1");
	while (!is_frozen())
		pause_ms(1);
	put(GROUP "/cgroup.freeze", "0");
}

static void send_alarm(pid_t pid)
{
	kill(pid, SIGALRM);
}

#ifdef __aarch64__
typedef uint32_t code_t;
#define STOPPED_PAST	0	/* the kernel has set pc back before it stops */
#define BREAKPOINT	0xd4200000u
#define BREAKPOINT_PAST	0	/* where pc is then */
#define PC		pc
#define CAN_CALL	false
#else
typedef uint8_t code_t;
#define STOPPED_PAST	2	/* int $0x80, sysenter and syscall have 2 bytes */
#define BREAKPOINT	0xcc
#define BREAKPOINT_PAST	1
#define CAN_CALL	true
#ifdef __x86_64__
#define PC		rip
#define NUMBER		rax
#define ISSUED		orig_rax
#define FIRST		rdi
#define SECOND		rsi
#define THIRD		rdx
#define FOURTH		r10
#else
#define PC		eip
#define NUMBER		eax
#define ISSUED		orig_eax
#define FIRST		ebx
#define SECOND		ecx
#define THIRD		edx
#define FOURTH		esi
#endif
#endif

/*
 * Have the handler run after the kernel has decided to restart, and before the
 * instruction that does so: a breakpoint is there.
 */
static void send_alarm_between(pid_t pid)
{
	struct user_regs_struct regs;
	struct iovec all = { &regs, sizeof(regs) };
	long saved, with_breakpoint;
	unsigned long at;

	if (ptrace(PTRACE_ATTACH, pid, 0, 0) || !is_stopped(pid))
		return;
	if (ptrace(PTRACE_GETREGSET, pid, NT_PRSTATUS, &all))
		fail("PTRACE_GETREGSET");
	at = regs.PC - STOPPED_PAST;
	errno = 0;
	saved = ptrace(PTRACE_PEEKTEXT, pid, at, 0);
	if (errno)
		fail("PTRACE_PEEKTEXT");
	with_breakpoint = saved;
	memcpy(&with_breakpoint, &(code_t){ BREAKPOINT }, sizeof(code_t));
	if (ptrace(PTRACE_POKETEXT, pid, at, with_breakpoint))
		fail("PTRACE_POKETEXT");
	ptrace(PTRACE_CONT, pid, 0, 0);
	if (!is_stopped(pid))
		return;
	ptrace(PTRACE_POKETEXT, pid, at, saved);
	ptrace(PTRACE_GETREGSET, pid, NT_PRSTATUS, &all);
	if ((unsigned long)regs.PC != at + BREAKPOINT_PAST)
		fail("the breakpoint");
	regs.PC = at;
	ptrace(PTRACE_SETREGSET, pid, NT_PRSTATUS, &all);
	ptrace(PTRACE_DETACH, pid, 0, SIGALRM);
}

static void stop_unmapped(pid_t pid)
{
	while (!shared->unmapped && state_of(pid) == 'S')
		pause_ms(1);
	stop(pid);
}

/*
 * Have it sleep a moment more, as a debugger's "call" does: all registers are
 * other ones for a while. That sleep is interrupted, too.
 */
static void call_sleep(pid_t pid)
{
#ifndef __aarch64__
	struct user_regs_struct regs, call;
	long saved, with_breakpoint;

	if (ptrace(PTRACE_ATTACH, pid, 0, 0) || !is_stopped(pid))
		return;
	if (ptrace(PTRACE_GETREGS, pid, 0, &regs))
		fail("PTRACE_GETREGS");
	saved = ptrace(PTRACE_PEEKTEXT, pid, regs.PC, 0);
	with_breakpoint = saved;
	memcpy(&with_breakpoint, &(code_t){ BREAKPOINT }, sizeof(code_t));
	ptrace(PTRACE_POKETEXT, pid, regs.PC, with_breakpoint);
	ptrace(PTRACE_POKEDATA, pid, MOMENT, 0);
	ptrace(PTRACE_POKEDATA, pid, MOMENT + sizeof(long), 50 * MS_NS);
	call = regs;
	call.PC = regs.PC - STOPPED_PAST;
	call.ISSUED = -1;
	call.NUMBER = SYS_clock_nanosleep;
	call.FIRST = CLOCK_MONOTONIC;
	call.SECOND = 0;
	call.THIRD = MOMENT;
	call.FOURTH = REM;
	ptrace(PTRACE_SETREGS, pid, 0, &call);
	ptrace(PTRACE_CONT, pid, 0, 0);
	wait_for(pid, 'S');
	kill(pid, SIGSTOP);
	if (is_stopped(pid)) {
		ptrace(PTRACE_CONT, pid, 0, 0);
		is_stopped(pid);
	}
	ptrace(PTRACE_POKETEXT, pid, regs.PC, saved);
	ptrace(PTRACE_SETREGS, pid, 0, &regs);
	ptrace(PTRACE_DETACH, pid, 0, 0);
#else
	(void)pid;
#endif
}

static const struct way {
	const char *name;
	void (*interrupt)(pid_t pid);
	void (*handler)(int signal);
	void *(*meanwhile)(void *request);	/* in a thread of the sleeper */
} ways[] = {
	{ "stop", stop, handle, NULL },
	{ "stop-locked", stop, handle, lock },
	{ "stop-unmapped", stop_unmapped, handle, unmap },
	{ "attach", attach, handle, NULL },
	{ "attach-dropped", attach, handle, lock_and_drop },
	{ "call", call_sleep, handle, NULL },
	{ "freeze", freeze, handle, NULL },
	{ "handler", send_alarm, handle, NULL },
	{ "sleeping-handler", send_alarm, handle_and_sleep, NULL },
	{ "handler-between", send_alarm_between, handle, NULL },
	{ "sleeping-handler-between", send_alarm_between, handle_and_sleep, NULL },
};

/*
 * A poll() of nothing at an address that is not in use has a command's
 * registers, an unknown one's but at 1 to 4, where the kernel has forgotten what
 * it kept of the poll. So has a sleep on a clock that is a command's number, or
 * at an address that is one, where the request is not there any more, or has to be
 * read in again while nobody can look what is mapped.
 */
static bool is_ambiguous(const struct sleep *sleep, const struct way *way)
{
	int command = sleep->arg[0];

	if (way->interrupt == stop_unmapped)
		return command >= 1 && command <= 4;
	if (way->meanwhile == lock_and_drop)
		return sleep->request && sleep->request < LOW;
	return !sleep->request && (unsigned int)sleep->arg[0] != MEMORY &&
	       (way->interrupt == call_sleep ||
		(way->interrupt == send_alarm_between &&
		 way->handler == handle_and_sleep));
}

/* Can the sleep be interrupted like that? */
static bool has_way(const struct sleep *sleep, const struct way *way)
{
	if (way->interrupt == stop_unmapped)	/* nothing reads it again */
		return sleep->request && !sleep->absolute &&
		       !strstr(sleep->name, "futex");
	if (way->interrupt == call_sleep)
		return CAN_CALL && sleep->abi == NATIVE;
	return true;
}

/* How long that process has slept, or slept, in milliseconds of its clock. */
static long slept_ms(const struct sleep *sleep, pid_t pid)
{
	/* The clock first: it goes with the process. */
	long ms = now_ms(clock_of(sleep, pid)) - shared->begin_ms;
	char state = state_of(pid);

	return state == 'Z' || state == 'X' ? shared->took_ms : ms;
}

/* Have it interrupted twice; false if that was too late. */
static bool sleeps_amid(const struct sleep *sleep, const struct way *way)
{
	bool in_time = false;	/* it may end before it is seen to sleep */
	pid_t pid;
	int i;

	memset((void *)shared, 0, sizeof(*shared));
	pid = fork();
	if (!pid)
		sleep_once(sleep, way->meanwhile);
	while (!shared->begun)
		pause_ms(1);
	for (i = 0; i < 2 && wait_for(pid, 'S'); i++) {
		way->interrupt(pid);
		in_time = slept_ms(sleep, pid) < length_ms;
	}
	waitpid(pid, NULL, __WALL);
	return in_time;
}

static void torment(const struct sleep *sleep, const struct way *way)
{
	int tries = TRIES;
	bool in_time;

	set_handler(way->handler);
	length_ms = LENGTH_MS;
	while (!(in_time = sleeps_amid(sleep, way)) && --tries)
		length_ms *= 2;
	printf("%s %d %ld %d %ld %ld\n", way->name, in_time, shared->result, shared->error,
	       length_ms, shared->took_ms);
}

/* ---- The storm ---- */

static void sleep_on(void)
{
	struct itimerval often = { { 0, 700 }, { 0, 700 } };
	struct timespec moment = { 0, 20 * MS_NS }, rem;

	set_handler(handle);
	setitimer(ITIMER_REAL, &often, NULL);
	for (;; shared->sleeps++) {
		if (!syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, &moment,
			     shared->sleeps % 2 ? &rem : NULL) || errno == EINTR)
			continue;
		if (!shared->odd++)
			snprintf((char *)shared->said, sizeof(shared->said),
				 "sleep %ld: %s", shared->sleeps, strerror(errno));
	}
}

static int storm(long seconds)
{
	long end = now_ms(CLOCK_MONOTONIC) + 1000 * seconds;
	pid_t pid = fork();

	if (!pid)
		sleep_on();
	while (now_ms(CLOCK_MONOTONIC) < end) {
		kill(pid, SIGSTOP);
		kill(pid, SIGCONT);
		nanosleep(&(struct timespec){ 0, 50000 }, NULL);
	}
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	printf("%ld sleeps, %ld odd: %s\n", shared->sleeps, shared->odd,
	       shared->said);
	return 0;
}

int main(int argc, char **argv)
{
	const struct sleep *sleep;
	const struct way *way;

	setbuf(stdout, NULL);
	shared = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (argc == 3 && !strcmp(argv[1], "storm"))
		return storm(atol(argv[2]));
	if (argc != 2)
		return 2;
	if (!strcmp(argv[1], "list")) {
		for (sleep = sleeps; sleep < sleeps + COUNT; sleep++)
			puts(sleep->name);
		return 0;
	}
	mkdir(GROUP, 0755);
	for (sleep = sleeps; sleep < sleeps + COUNT; sleep++) {
		if (strcmp(sleep->name, argv[1]))
			continue;
		if (!map(MEMORY) || !map(REM) || (sleep->request && !map(sleep->request)) ||
		    (sleep->number == SYS_futex && !map(sleep->arg[0])))
			fail("mmap");
		for (way = ways; way < ways + sizeof(ways) / sizeof(*ways); way++)
			if (has_way(sleep, way) && !is_ambiguous(sleep, way))
				torment(sleep, way);
			else
				puts(way->name);
		return 0;
	}
	return 2;
}
