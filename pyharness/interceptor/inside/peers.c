// SPDX-License-Identifier: GPL-2.0
/*
 * A process whose system calls are counted, for pyharness bench --peers.
 *
 * It prints its pid on a line. Then it reads the name of a call from standard
 * input, a line each, and prints the cost of that call in instructions.
 *
 * QEMU's -icount makes the clock advance one nanosecond an instruction, so that
 * a time is a count of instructions. A cost is the least of ROUNDS rounds, less
 * the least of as many rounds that make no call, by the number of the calls.
 *
 * During a round no other process runs unless the call itself waits for it: the
 * process has a real-time priority. Between two rounds it sleeps, so that those
 * who read what was recorded do so then.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define ROUNDS		40
#define PAUSE_US	50000
/* A round lasts at most so long, as a tick of the timer comes each 4 ms. */
#define ROUND_NS	1000000
#define FEWEST_CALLS	8
#define MOST_CALLS	256
#define PRIORITY	10

static const struct {
	const char *name;
	long number;
} known[] = {
	{ "getppid", SYS_getppid },
	{ "getpgrp", SYS_getpgrp },
};

static void die(const char *what)
{
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	exit(1);
}

static long long now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC_RAW, &time);
	return time.tv_sec * 1000000000LL + time.tv_nsec;
}

static long long round_of(long number, int calls)
{
	long long begin = now();
	int i;

	for (i = 0; i < calls; i++)
		syscall(number);
	return now() - begin;
}

static long long least_round(long number, int calls)
{
	long long least = -1, took;
	int i;

	for (i = 0; i < ROUNDS; i++) {
		usleep(PAUSE_US);
		took = round_of(number, calls);
		if (least < 0 || took < least)
			least = took;
	}
	return least;
}

static void schedule(int policy, int priority)
{
	struct sched_param parameters = { .sched_priority = priority };

	if (sched_setscheduler(0, policy, &parameters))
		die("sched_setscheduler");
}

static double cost(long number)
{
	long long fewest, calls;

	schedule(SCHED_FIFO, PRIORITY);
	round_of(number, FEWEST_CALLS);
	fewest = round_of(number, FEWEST_CALLS);
	calls = FEWEST_CALLS * ROUND_NS / (fewest + 1);
	if (calls < FEWEST_CALLS)
		calls = FEWEST_CALLS;
	if (calls > MOST_CALLS)
		calls = MOST_CALLS;
	fewest = least_round(number, calls) - least_round(number, 0);
	schedule(SCHED_OTHER, 0);
	return (double)fewest / calls;
}

int main(void)
{
	char line[32];
	size_t i;

	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("%d\n", getpid());
	while (fgets(line, sizeof(line), stdin)) {
		line[strcspn(line, "\n")] = '\0';
		for (i = 0; i < sizeof(known) / sizeof(*known); i++)
			if (!strcmp(line, known[i].name))
				break;
		if (i == sizeof(known) / sizeof(*known)) {
			fprintf(stderr, "no such call: %s\n", line);
			return 2;
		}
		printf("%.2f\n", cost(known[i].number));
	}
	return 0;
}
