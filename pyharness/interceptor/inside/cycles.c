// SPDX-License-Identifier: GPL-2.0
/*
 * Loads and unloads a module again and again, as root, and uses it each time:
 *
 *	cycles COMMANDS FILE PARAMETERS NAME SYSCALL COUNT PID...
 *
 * COMMANDS are the numbers of the module, as commands.h has them. Each cycle loads the module FILE,
 * whose name in the kernel is NAME, intercepts SYSCALL, starts to monitor each PID, and unloads the
 * module. At the end "COUNT cycles" is printed. The first step that fails is printed instead, with
 * its error, and the exit status is 1.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "commands.h"

static long cycle;

static void check(long result, const char *step)
{
	if (!result)
		return;
	printf("cycle %ld: %s: %ld, %s\n", cycle, step, result,
	       result < 0 ? strerror(errno) : "not 0");
	exit(1);
}

int main(int argc, char **argv)
{
	if (argc < 7 || !read_commands(argv[1]))
		return 2;
	const char *file = argv[2], *parameters = argv[3], *name = argv[4];
	long call = atol(argv[5]), count = atol(argv[6]);
	int fd = open(file, O_RDONLY | O_CLOEXEC);

	check(fd < 0 ? -1 : 0, file);
	for (cycle = 1; cycle <= count; cycle++) {
		check(syscall(SYS_finit_module, fd, parameters, 0), "insmod");
		check(syscall(commands.syscall, commands.intercept, call, 0),
		      "REQUEST_SYSCALL_INTERCEPT");
		for (int i = 7; i < argc; i++) {
			long pid = atol(argv[i]);

			check(syscall(commands.syscall, commands.start, call, pid),
			      "REQUEST_START_MONITORING");
		}
		check(syscall(SYS_delete_module, name, O_NONBLOCK), "rmmod");
	}
	printf("%ld cycles\n", count);
	return 0;
}
