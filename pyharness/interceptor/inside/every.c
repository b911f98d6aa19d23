// SPDX-License-Identifier: GPL-2.0
/*
 * Intercepts every system call of the kernel, as root:
 *
 *	every COMMANDS COUNT
 *
 * COMMANDS are the numbers of the module, as commands.h has them; those of the system calls are less
 * than COUNT. The one that takes commands is left out. At the end "N intercepted" is printed. The
 * first number that can't be intercepted is printed instead, with the error, and the exit status is
 * 1.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "commands.h"

int main(int argc, char **argv)
{
	if (argc != 3 || !read_commands(argv[1]))
		return 2;
	long count = atol(argv[2]), done = 0;

	for (long number = 0; number < count; number++) {
		if (number == commands.syscall)
			continue;
		long result = syscall(commands.syscall, commands.intercept, number, 0);

		if (result) {
			printf("system call %ld: REQUEST_SYSCALL_INTERCEPT: %ld, %s\n", number,
			       result, result < 0 ? strerror(errno) : "not 0");
			return 1;
		}
		done++;
	}
	printf("%ld intercepted\n", done);
	return 0;
}
