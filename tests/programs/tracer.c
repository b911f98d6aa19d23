// SPDX-License-Identifier: GPL-2.0
/*
 * Traces a process and makes another call of one that it issues:
 *
 *	tracer PID ptrace|seccomp FROM TO SEEN
 *
 * Each call FROM of the process becomes TO, with 0 as its first argument. A
 * byte is written to the file SEEN for each. With "seccomp" only the calls for
 * which the process's own filter says so (SECCOMP_RET_TRACE) are seen.
 */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#if defined(__i386__)
#define NUMBER(all)	((all)->orig_eax)
#define FIRST(all)	((all)->ebx)
#elif defined(__x86_64__)
#define NUMBER(all)	((all)->orig_rax)
#define FIRST(all)	((all)->rdi)
#else
#define NUMBER(all)	((all)->regs[8])
#define FIRST(all)	((all)->regs[0])
#endif

static bool change(pid_t pid, int from, int to)
{
	struct user_regs_struct regs;
	struct iovec iov = { &regs, sizeof(regs) };

	if (ptrace(PTRACE_GETREGSET, pid, NT_PRSTATUS, &iov))
		return false;
	if ((int)NUMBER(&regs) != from)
		return false;
	NUMBER(&regs) = to;
	FIRST(&regs) = 0;
	if (ptrace(PTRACE_SETREGSET, pid, NT_PRSTATUS, &iov))
		return false;
#ifdef __aarch64__
	/* Here the number is no register any more. */
	iov = (struct iovec){ &to, sizeof(to) };
	if (ptrace(PTRACE_SETREGSET, pid, NT_ARM_SYSTEM_CALL, &iov))
		return false;
#endif
	return true;
}

int main(int argc, char **argv)
{
	pid_t pid = argc > 1 ? atoi(argv[1]) : 0;
	bool seccomp, entered = false;
	int seen, from, to, status, signal;

	if (argc != 6)
		return 2;
	seccomp = !strcmp(argv[2], "seccomp");
	from = atoi(argv[3]);
	to = atoi(argv[4]);
	seen = open(argv[5], O_WRONLY | O_CREAT | O_APPEND, 0644);
	if (seen < 0 ||
	    ptrace(PTRACE_SEIZE, pid, 0, PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACESECCOMP) ||
	    ptrace(PTRACE_INTERRUPT, pid, 0, 0)) {
		perror("tracer");
		return 1;
	}
	while (waitpid(pid, &status, __WALL) == pid && WIFSTOPPED(status)) {
		signal = WSTOPSIG(status);
		if (signal == (SIGTRAP | 0x80)) {
			entered = !entered;
			signal = 0;
		} else if (status >> 16) {	/* an event: seccomp's, or the first stop */
			entered = status >> 16 == PTRACE_EVENT_SECCOMP;
			signal = 0;
		}
		if (entered && change(pid, from, to) && write(seen, "x", 1) != 1)
			return 1;
		if (seccomp)
			entered = false;
		ptrace(seccomp ? PTRACE_CONT : PTRACE_SYSCALL, pid, 0, signal);
	}
	return 0;
}
