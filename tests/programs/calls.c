// SPDX-License-Identifier: GPL-2.0
/*
 * Calls by the thousand, each with arguments of its own, issued by
 * several threads at once, and by a signal handler in between, as root:
 *
 *	calls SYSCALL THREADS CALLS
 *
 * The process has itself monitored first. The first argument of a call is its
 * thread (THREADS: the handler, which runs in the first one alone, as else its
 * calls would have no order), the third its number. Prints how many calls the
 * handler made.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>
#include <unistd.h>
#include "interceptor.h"

#define NOWHERE 0xfffff000ul	/* nothing can be written there */
#define SIGNAL_USEC 2000

static int number;
static long calls, threads;
static volatile sig_atomic_t handled;

static void issue(long thread, long call)
{
	syscall(number, thread, NOWHERE, call, 0, 0, 0);
}

static void handler(int signal)
{
	(void)signal;
	issue(threads, handled++);
}

static void take_alarms(int how)
{
	sigset_t alarms;

	sigemptyset(&alarms);
	sigaddset(&alarms, SIGALRM);
	pthread_sigmask(how, &alarms, NULL);
}

static void *run(void *self)
{
	long call;

	if (!self)
		take_alarms(SIG_UNBLOCK);
	for (call = 0; call < calls; call++)
		issue((long)self, call);
	return NULL;
}

int main(int argc, char **argv)
{
	struct itimerval often = { { 0, SIGNAL_USEC }, { 0, SIGNAL_USEC } };
	struct itimerval never = {};
	struct sigaction action = { .sa_handler = handler, .sa_flags = SA_RESTART };
	pthread_t *thread;
	long i;

	if (argc != 4)
		return 2;
	number = atoi(argv[1]);
	threads = atol(argv[2]);
	calls = atol(argv[3]);
	thread = calloc(threads, sizeof(*thread));
	if (syscall(MY_CUSTOM_SYSCALL, REQUEST_START_MONITORING, number, getpid()))
		return 3;

	take_alarms(SIG_BLOCK);
	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &often, NULL);
	for (i = 0; i < threads; i++)
		pthread_create(&thread[i], NULL, run, (void *)i);
	for (i = 0; i < threads; i++)
		pthread_join(thread[i], NULL);
	setitimer(ITIMER_REAL, &never, NULL);
	printf("%d\n", (int)handled);
	return 0;
}
