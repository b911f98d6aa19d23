// SPDX-License-Identifier: GPL-2.0
/*
 * A process of root's, whose first thread becomes user UID, and whose second one
 * does not:
 *
 *	mixed UID
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifdef SYS_setresuid32
#define SETRESUID SYS_setresuid32
#else
#define SETRESUID SYS_setresuid
#endif

static void *stay(void *unused)
{
	pause();
	return unused;
}

int main(int argc, char **argv)
{
	long uid = argc == 2 ? atol(argv[1]) : -1;
	pthread_t thread;

	if (pthread_create(&thread, NULL, stay, NULL))
		return 1;
	/* glibc's function would do so for all threads. */
	if (syscall(SETRESUID, uid, uid, uid))
		return 1;
	pause();
	return 0;
}
