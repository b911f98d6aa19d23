// SPDX-License-Identifier: GPL-2.0
/*
 * Reads the event interceptor:syscall while four processes issue a system call:
 *
 *	events INSTANCE SYSCALL CALLS	an instance of tracefs, in which the event is
 *					enabled; CALLS by each process
 *
 * All events are read and checked. What should not happen is printed, and the exit
 * status is 1.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include "storm.h"

static struct storm storm;
static unsigned long lost;

static void take(const char *line)
{
	const char *event = strstr(line, ": syscall: ");
	unsigned long args[6], count;
	int cpu, end = 0;
	unsigned int nr;

	if (sscanf(line, "CPU:%d [LOST %lu EVENTS]%n", &cpu, &count, &end) == 2 && end) {
		lost += count;
	} else if (event &&
		   sscanf(event, ": syscall: %x(%lx,%lx,%lx,%lx,%lx,%lx)%n", &nr, &args[0],
			  &args[1], &args[2], &args[3], &args[4], &args[5], &end) == 7 &&
		   end && !event[end]) {
		storm_check(&storm, nr, args);
	} else {
		fail("a line that is no event: %s", line);
	}
}

/* Take all lines that are there. */
static void drain(int pipe)
{
	static char text[1 << 16];
	static size_t kept;
	char *line, *end;
	ssize_t size;

	while ((size = read(pipe, text + kept, sizeof(text) - 1 - kept)) > 0) {
		text[kept + size] = 0;
		for (line = text; (end = strchr(line, '\n')); line = end + 1) {
			*end = 0;
			take(line);
		}
		kept = strlen(line);
		memmove(text, line, kept + 1);
	}
	if (size < 0 && errno != EAGAIN)
		fail("read: %s", strerror(errno));
}

int main(int argc, char **argv)
{
	struct pollfd polled = { .events = POLLIN };

	if (argc != 4 || chdir(argv[1]))
		return 2;
	polled.fd = open("trace_pipe", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (polled.fd < 0)
		fail("open: %s", strerror(errno));
	storm_begin(&storm, argv[2], argv[3]);
	while (storm_goes_on(&storm)) {
		poll(&polled, 1, 10);
		drain(polled.fd);
	}
	drain(polled.fd);
	printf("%lu read, %lu lost\n", storm.read, lost);
	return 0;
}
