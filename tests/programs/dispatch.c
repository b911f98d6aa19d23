// SPDX-License-Identifier: GPL-2.0
/*
 * A process that serves its own system calls (PR_SET_SYSCALL_USER_DISPATCH):
 *
 *	dispatch ORDERS ANSWERS
 *
 * It reads orders from ORDERS, a letter each: 1 and 0 switch the dispatch on
 * and off, c issues getsid(0). Where that comes to the process itself, it does
 * what an emulator does, and passes the call on. A line of ANSWERS for each
 * order has its result and how many calls have come to the process so far.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#ifndef PR_SET_SYSCALL_USER_DISPATCH
#define PR_SET_SYSCALL_USER_DISPATCH 59
#endif
enum { ALLOW, BLOCK };

#ifdef __i386__
#define RESULT REG_EAX
#else
#define RESULT REG_RAX
#endif

static volatile char selector = ALLOW;
static volatile int seen;

static void serve(int signal, siginfo_t *info, void *context)
{
	ucontext_t *user = context;

	(void)signal;
	selector = ALLOW;	/* as well for the return from here */
	seen++;
	user->uc_mcontext.gregs[RESULT] = syscall(info->si_syscall, 0);
}

static long carry_out(char order)
{
	long result;

	switch (order) {
	case '1':
		return prctl(PR_SET_SYSCALL_USER_DISPATCH, 1, 0, 0, &selector);
	case '0':
		return prctl(PR_SET_SYSCALL_USER_DISPATCH, 0, 0, 0, 0);
	}
	selector = BLOCK;
	result = syscall(SYS_getsid, 0);
	selector = ALLOW;
	return result;
}

int main(int argc, char **argv)
{
	struct sigaction action = { .sa_sigaction = serve, .sa_flags = SA_SIGINFO };
	int orders, answers;
	long result;
	char order;

	if (argc != 3 || sigaction(SIGSYS, &action, NULL))
		return 1;
	orders = open(argv[1], O_RDWR);		/* a FIFO that is never at its end */
	answers = open(argv[2], O_WRONLY | O_CREAT | O_APPEND, 0644);
	while (read(orders, &order, 1) == 1) {
		result = carry_out(order);
		dprintf(answers, "%ld %d\n", result, seen);
	}
	return 1;
}
