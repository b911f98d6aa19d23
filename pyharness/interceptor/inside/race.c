// SPDX-License-Identifier: GPL-2.0
/*
 * Threads that do the same at the same moment, round after round, as root:
 *
 *	race COMMANDS KIND SYSCALL ROUNDS SECONDS LEAST
 *
 * COMMANDS are the numbers of the module, as commands.h has them. It ends after so many rounds, or
 * after so many seconds and at least LEAST rounds, and prints "N rounds in S s". What should not
 * happen is printed, and the exit status is 1.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "commands.h"

#define THREADS 4

static int target;
static double begin, end;
static long most, least;
static atomic_long rounds;
static atomic_bool over;

/* What several processes share: a number that a child waits for. */
static atomic_int *gate;

static void fail(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	printf("round %ld: ", atomic_load(&rounds));
	vprintf(format, args);
	printf("\n");
	exit(1);
}

/* A command's result: 0, or the number of its error. */
static int command_of(int cmd, int nr, int pid)
{
	return syscall(commands.syscall, cmd, nr, pid) ? errno : 0;
}

static int command(int cmd, int pid)
{
	return command_of(cmd, target, pid);
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

/* Count a round; whether there is to be another. */
static bool another(void)
{
	long done = atomic_fetch_add(&rounds, 1) + 1;

	if (done >= most || (done >= least && now() > end))
		atomic_store(&over, true);
	return !atomic_load(&over);
}

/* Tell the CPU, and an emulator of several, that somebody else is waited for. */
static void pause_cpu(void)
{
#if defined(__aarch64__)
	asm volatile("yield");
#else
	__builtin_ia32_pause();
#endif
}

/* Wait for somebody else, who may be on another CPU, emulated, or on this one. */
static void spin(void)
{
	int i;

	for (i = 0; i < 100; i++)
		pause_cpu();
	sched_yield();
}

/* All threads leave it at the same moment; the last one to come opens it. */
static void meet(void)
{
	static atomic_int here, turn;
	int before = atomic_load(&turn);

	if (atomic_fetch_add(&here, 1) + 1 == THREADS) {
		atomic_store(&here, 0);
		atomic_store(&turn, before + 1);
	} else {
		while (atomic_load(&turn) == before)
			spin();
	}
}

static int results[THREADS];

/* All issue a command at once: one is served, the others get @error. */
static void one_is_served(long self, int cmd, int pid, int error)
{
	int i, served = 0;

	meet();
	results[self] = command(cmd, pid);
	meet();
	if (self)
		return;
	for (i = 0; i < THREADS; i++) {
		if (results[i] && results[i] != error)
			fail("command %d: %s", cmd, strerror(results[i]));
		served += !results[i];
	}
	if (served != 1)
		fail("command %d: %d were served", cmd, served);
}

static void *intercept(void *self)
{
	bool go_on = true;

	while (go_on) {
		one_is_served((long)self, commands.intercept, 0, EBUSY);
		one_is_served((long)self, commands.release, 0, EINVAL);
		if (!self)
			another();
		meet();
		go_on = !atomic_load(&over);
	}
	return NULL;
}

static void *start(void *self)
{
	bool go_on = true;

	while (go_on) {
		one_is_served((long)self, commands.start, getpid(), EBUSY);
		one_is_served((long)self, commands.stop, getpid(), EINVAL);
		if (!self)
			another();
		meet();
		go_on = !atomic_load(&over);
	}
	return NULL;
}

/* The others ask for a process that ends at that moment. */
static void *exits(void *self)
{
	static int child;
	bool go_on = true;
	int err;

	while (go_on) {
		if (!self) {
			atomic_store(gate, 0);
			child = fork();
			if (!child) {
				while (!atomic_load(gate))
					spin();
				_exit(0);
			}
		}
		meet();
		if (!self) {
			atomic_store(gate, 1);
		} else {
			err = command(commands.start, child);
			if (err && err != EBUSY && err != EINVAL)
				fail("start: %s", strerror(err));
		}
		if (!self) {
			waitpid(child, NULL, 0);
			another();
		}
		meet();
		go_on = !atomic_load(&over);
	}
	return NULL;
}

/* Likewise, but they have to wait, as one takes another call meanwhile. */
static void *exits_waiting(void *self)
{
	static int child;
	bool go_on = true;
	int err = 0;

	while (go_on) {
		if (!self) {
			child = fork();
			if (!child)
				_exit(0);
		}
		meet();
		if (!self) {
			waitpid(child, NULL, 0);
		} else if ((long)self == 1) {
			err = err ?: command_of(commands.intercept, SYS_getsid, 0);
			err = err ?: command_of(commands.release, SYS_getsid, 0);
			if (err)
				fail("%s", strerror(err));
		} else {
			err = command(commands.start, child);
			if (err && err != EBUSY && err != EINVAL)
				fail("start: %s", strerror(err));
		}
		if (!self)
			another();
		meet();
		go_on = !atomic_load(&over);
	}
	return NULL;
}

/* One takes a system call and gives it back, the others issue it. */
static void *in_flight(void *self)
{
	pid_t parent = getppid();
	int err = 0;

	while (!atomic_load(&over)) {
		if (self) {
			pid_t found = syscall(SYS_getppid);

			if (found != parent)
				fail("getppid: %d", found);
			pause_cpu();
			continue;
		}
		err = err ?: command(commands.intercept, 0);
		err = err ?: command(commands.start, 0);
		err = err ?: command(commands.stop, getpid());
		err = err ?: command(commands.release, 0);
		if (err)
			fail("%s", strerror(err));
		another();
	}
	return NULL;
}

/* One gives the call back while the others ask for monitoring: nobody stays. */
static void *release(void *self)
{
	bool go_on = true;
	int err;

	while (go_on) {
		meet();
		if (!self) {
			err = command(commands.release, 0);
			if (err)
				fail("release: %s", strerror(err));
		} else {
			while (!(err = command(commands.start, getpid())) || err == EBUSY)
				pause_cpu();
			if (err != EINVAL)
				fail("start: %s", strerror(err));
		}
		meet();
		if (!self) {
			err = command(commands.intercept, 0);
			if (err)
				fail("intercept: %s", strerror(err));
			err = command(commands.stop, getpid());
			if (err != EINVAL)
				fail("it is monitored still: %s", strerror(err));
			another();
		}
		meet();
		go_on = !atomic_load(&over);
	}
	return NULL;
}

/* One monitors everybody and nobody in turn; the others issue CMD about children that die. */
static void *around_exits(void *self, int cmd)
{
	int err, child;

	while (!atomic_load(&over)) {
		if (!self) {
			err = command(commands.start, 0);
			if (err && err != EBUSY)
				fail("start all: %s", strerror(err));
			err = command(commands.stop, 0);
			if (err)
				fail("stop all: %s", strerror(err));
			pause_cpu();
			continue;
		}
		child = fork();
		if (!child)
			_exit(0);
		err = command(cmd, child);
		if (err && err != EINVAL &&
		    !(err == EBUSY && cmd == commands.start))
			fail("command %d: %s", cmd, strerror(err));
		waitpid(child, NULL, 0);
		another();
	}
	return NULL;
}

/* Children that die are taken out of everybody. */
static void *exit_storm(void *self)
{
	return around_exits(self, commands.stop);
}

/* Children that die are listed. */
static void *exit_list(void *self)
{
	return around_exits(self, commands.start);
}

/*
 * All on one CPU, where children of one die in real time: in the middle of the
 * others' commands, at any place. By exit(), as exit_group() is a hook's.
 */
static void *preempting(void *self)
{
	const struct timespec soon = { .tv_nsec = 200000 };
	const struct sched_param first = { .sched_priority = 1 };
	cpu_set_t cpu;
	int err, child;

	CPU_ZERO(&cpu);
	CPU_SET(0, &cpu);
	if (sched_setaffinity(0, sizeof(cpu), &cpu) ||
	    (!self && sched_setscheduler(0, SCHED_FIFO, &first)))
		fail("%s", strerror(errno));
	while (!atomic_load(&over)) {
		if (self) {
			err = command(commands.start, getpid());
			if (err && err != EBUSY)
				fail("start: %s", strerror(err));
			err = command(commands.stop, getpid());
			if (err && err != EINVAL)
				fail("stop: %s", strerror(err));
			continue;
		}
		child = fork();
		if (!child) {
			nanosleep(&soon, NULL);
			syscall(SYS_exit, 0);
		}
		err = command(commands.start, child);
		if (err)
			fail("start a child: %s", strerror(err));
		waitpid(child, NULL, 0);
		another();
	}
	return NULL;
}

static const struct {
	const char *name;
	void *(*run)(void *self);
	bool intercepted;		/* beforehand */
} kinds[] = {
	{ "intercept", intercept, false },
	{ "start", start, true },
	{ "exits", exits, true },
	{ "exits-waiting", exits_waiting, true },
	{ "in-flight", in_flight, false },
	{ "release", release, true },
	{ "exit-storm", exit_storm, true },
	{ "exit-list", exit_list, true },
	{ "preempting", preempting, true },
};

int main(int argc, char **argv)
{
	pthread_t thread[THREADS];
	unsigned int kind;
	long i;

	if (argc != 7 || !read_commands(argv[1]))
		return 2;
	for (kind = 0; kind < sizeof(kinds) / sizeof(*kinds); kind++)
		if (!strcmp(kinds[kind].name, argv[2]))
			break;
	if (kind == sizeof(kinds) / sizeof(*kinds))
		return 2;
	target = atoi(argv[3]);
	most = atol(argv[4]);
	begin = now();
	end = begin + atof(argv[5]);
	least = atol(argv[6]);
	gate = mmap(NULL, sizeof(*gate), PROT_READ | PROT_WRITE,
		    MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (kinds[kind].intercepted && command(commands.intercept, 0))
		fail("intercept: %s", strerror(errno));
	for (i = 0; i < THREADS; i++)
		pthread_create(&thread[i], NULL, kinds[kind].run, (void *)i);
	for (i = 0; i < THREADS; i++)
		pthread_join(thread[i], NULL);
	printf("%ld rounds in %.0f s\n", atomic_load(&rounds), now() - begin);
	return 0;
}
