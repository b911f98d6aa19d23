/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A storm of calls by several processes, and a check of the records of them that
 * a program reads meanwhile. What should not happen is printed, and the exit
 * status is 1.
 */
#ifndef STORM_H
#define STORM_H

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define STORM_PROCESSES 4

struct storm {
	int nr;				/* the system call */
	unsigned long calls;		/* of each process */
	unsigned long read;		/* records that were checked */
	int running;			/* processes that have not ended */
	/*
	 * A process moves from CPU to CPU, so that its records are read out of
	 * order: a byte for each call says whether its record was read.
	 */
	unsigned char *seen[STORM_PROCESSES];
};

static void fail(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vprintf(format, args);
	printf("\n");
	exit(1);
}

/* The second argument of each process's calls counts them; the others repeat it. */
static void storm_issue(const struct storm *storm, unsigned long process)
{
	unsigned long i;

	for (i = 1; i <= storm->calls; i++)
		syscall(storm->nr, -1L, i, process, ~i, i, ~i);
}

static void storm_begin(struct storm *storm, const char *nr, const char *calls)
{
	unsigned long process;

	storm->nr = atoi(nr);
	storm->calls = strtoul(calls, NULL, 10);
	for (process = 0; process < STORM_PROCESSES; process++) {
		storm->seen[process] = calloc(storm->calls + 1, 1);
		if (!fork()) {
			storm_issue(storm, process);
			_exit(0);
		}
		storm->running++;
	}
}

static int storm_goes_on(struct storm *storm)
{
	while (storm->running && waitpid(-1, NULL, WNOHANG) > 0)
		storm->running--;
	return storm->running;
}

/* Check the record of a call, with its six arguments, unless the storm has not issued it. */
static void storm_check(struct storm *storm, int nr, const unsigned long *args)
{
	unsigned long call = args[1], process = args[2];

	if (nr != storm->nr)
		return;
	if (process >= STORM_PROCESSES || !call || call > storm->calls || args[0] != -1UL ||
	    args[3] != ~call || args[4] != call || args[5] != ~call)
		fail("a torn record: %lx %lx %lx %lx %lx %lx", args[0], args[1], args[2],
		     args[3], args[4], args[5]);
	if (storm->seen[process][call])
		fail("call %lu of process %lu was read twice", call, process);
	storm->seen[process][call] = 1;
	storm->read++;
}

#endif
