// SPDX-License-Identifier: GPL-2.0
/*
 * The least consumer of Falco's kernel module, for pyharness bench --peers.
 *
 * It has the module record each getppid at its begin and end, as Falco does,
 * and empties the ring of the only CPU. On SIGINT it prints how many events it
 * got and lost, and ends.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <ppm_events_public.h>
#include <ppm_ringbuffer.h>
#include <ppm_tp.h>

#define PAUSE_US	10000

static volatile sig_atomic_t interrupted;

static void interrupt(int signal)
{
	(void)signal;
	interrupted = 1;
}

static int failed(const char *what)
{
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	return 1;
}

int main(void)
{
	struct ppm_ring_buffer_info *ring;
	int fd = open("/dev/scap0", O_RDWR);

	if (fd < 0)
		return failed("/dev/scap0");
	ring = mmap(NULL, sysconf(_SC_PAGESIZE), PROT_READ | PROT_WRITE,
		    MAP_SHARED, fd, 0);
	if (ring == MAP_FAILED)
		return failed("mmap");
	signal(SIGINT, interrupt);
	if (ioctl(fd, PPM_IOCTL_ENABLE_SYSCALL, SYS_getppid) ||
	    ioctl(fd, PPM_IOCTL_ENABLE_TP, KMOD_PROG_SYS_ENTER) ||
	    ioctl(fd, PPM_IOCTL_ENABLE_TP, KMOD_PROG_SYS_EXIT))
		return failed("ioctl");
	printf("ready\n");
	fflush(stdout);
	while (!interrupted) {
		ring->tail = ring->head;
		usleep(PAUSE_US);
	}
	printf("events=%llu lost=%llu\n", (unsigned long long)ring->n_evts,
	       (unsigned long long)ring->n_drops_buffer);
	return 0;
}
