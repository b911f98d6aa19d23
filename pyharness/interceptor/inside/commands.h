/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The numbers of the module that a program issues commands to. The program gets them as an
 * argument, so that the same file serves every module:
 *
 *	MY_CUSTOM_SYSCALL,INTERCEPT,RELEASE,START,STOP
 */
#include <stdbool.h>
#include <stdio.h>

static struct {
	int syscall;
	int intercept, release, start, stop;
} commands;

/* Whether the argument has all numbers. */
static bool read_commands(const char *argument)
{
	return sscanf(argument, "%d,%d,%d,%d,%d", &commands.syscall, &commands.intercept,
		      &commands.release, &commands.start, &commands.stop) == 5;
}
