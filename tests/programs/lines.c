// SPDX-License-Identifier: GPL-2.0
/*
 * Processes of a user that make a monitored call at the same moment, again and again:
 *
 *	lines USER PROCESSES ROUNDS
 *
 * Each has itself monitored, and a CPU of its own if there are enough. In each round they wait for
 * each other, and make CALLS calls.
 */
#define _GNU_SOURCE
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "interceptor.h"

#define CALL	SYS_sched_rr_get_interval
#define CALLS	4

static atomic_int *arrived;

static int fail(const char *what)
{
	perror(what);
	return 1;
}

static int make_calls(uid_t user, int cpu, int processes, int rounds)
{
	cpu_set_t cpus;
	int round, i;

	CPU_ZERO(&cpus);
	CPU_SET(cpu % sysconf(_SC_NPROCESSORS_ONLN), &cpus);
	if (sched_setaffinity(0, sizeof(cpus), &cpus))
		return fail("sched_setaffinity");
	if (setresgid(user, user, user) || setresuid(user, user, user))
		return fail("setresuid");
	if (syscall(MY_CUSTOM_SYSCALL, REQUEST_START_MONITORING, CALL, getpid()))
		return fail("START");
	for (round = 1; round <= rounds; round++) {
		atomic_fetch_add(arrived, 1);
		while (atomic_load(arrived) < round * processes)
			usleep(100);
		for (i = 0; i < CALLS; i++)
			syscall(CALL, 0, 0);
	}
	return 0;
}

int main(int argc, char **argv)
{
	int i, status, failed = 0;

	if (argc != 4)
		return 2;
	arrived = mmap(NULL, sizeof(*arrived), PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	for (i = 0; i < atoi(argv[2]); i++)
		if (!fork())
			_exit(make_calls(atoi(argv[1]), i, atoi(argv[2]),
					 atoi(argv[3])));
	while (wait(&status) > 0)
		failed |= status;
	return failed != 0;
}
