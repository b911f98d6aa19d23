// SPDX-License-Identifier: GPL-2.0
/*
 * Reads the ring of interceptor.h, as root:
 *
 *	ring print			each record that is there, its time first, in hexadecimal
 *	ring storm SYSCALL CALLS	four processes issue the call, CALLS times each, and
 *					all records are read meanwhile, and checked
 *	ring mapped COMMAND		a shell command, while the ring is mapped alone
 *	ring write			none of the ways to write to it succeeds
 *
 * What should not happen is printed, and the exit status is 1.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include "interceptor.h"
#include "storm.h"

#define MOST_CPUS 64

static int fd;
static const char *memory;
static const struct interceptor_rings *rings;

static size_t size_of_all(void)
{
	return rings->first + (size_t)rings->stride * rings->cpus;
}

static void map(void)
{
	void *found;

	fd = open(INTERCEPTOR_RING, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		fail("open: %s", strerror(errno));
	found = mmap(NULL, getpagesize(), PROT_READ, MAP_SHARED, fd, 0);
	if (found == MAP_FAILED)
		fail("mmap: %s", strerror(errno));
	rings = found;
	if (rings->version != INTERCEPTOR_RING_VERSION ||
	    rings->record_size != sizeof(struct interceptor_record) ||
	    rings->cpus > MOST_CPUS)
		fail("version %u, record_size %u, cpus %u", rings->version,
		     rings->record_size, rings->cpus);
	memory = mmap(NULL, size_of_all(), PROT_READ, MAP_SHARED, fd, 0);
	if (memory == MAP_FAILED)
		fail("mmap of all: %s", strerror(errno));
}

static unsigned long head_of(unsigned int cpu)
{
	const struct interceptor_ring *ring =
		(const void *)(memory + rings->first + (size_t)rings->stride * cpu);
	unsigned long head = *(volatile const unsigned long *)&ring->head;

	atomic_thread_fence(memory_order_acquire);
	return head;
}

/* Copy the record of an index; whether it was still there. */
static int take(unsigned int cpu, unsigned long index, struct interceptor_record *record)
{
	const char *data = memory + rings->first + (size_t)rings->stride * cpu + rings->data;
	size_t place = index % rings->records;

	memcpy(record, data + place * rings->record_size, sizeof(*record));
	atomic_thread_fence(memory_order_acquire);
	if (head_of(cpu) - index >= rings->records)
		return 0;
	if (record->lap != (unsigned char)(index / rings->records))
		fail("record %lu of CPU %u has lap %u", index, cpu, record->lap);
	return 1;
}

static void print(void)
{
	struct interceptor_record record;
	unsigned long index;
	unsigned int cpu;
	int i;

	for (cpu = 0; cpu < rings->cpus; cpu++)
		for (index = 0; index < head_of(cpu); index++) {
			if (!take(cpu, index, &record))
				continue;
			printf("%llx %x %x %x", (unsigned long long)record.time, record.pid,
			       record.nr, record.abi);
			for (i = 0; i < 6; i++)
				printf(" %lx", record.args[i]);
			printf("\n");
		}
}

/* ---- storm ---- */

static struct storm storm;
static unsigned long lost;
static unsigned long next[MOST_CPUS];

static void drain(void)
{
	struct interceptor_record record;
	unsigned long head;
	unsigned int cpu;

	for (cpu = 0; cpu < rings->cpus; cpu++) {
		head = head_of(cpu);
		if (head - next[cpu] > rings->records) {
			lost += head - next[cpu] - rings->records;
			next[cpu] = head - rings->records;
		}
		for (; next[cpu] != head; next[cpu]++) {
			if (take(cpu, next[cpu], &record))
				storm_check(&storm, record.nr, record.args);
			else
				lost++;
		}
	}
}

static void read_storm(const char *nr, const char *calls)
{
	struct pollfd polled = { .fd = fd, .events = POLLIN };
	unsigned int cpu;
	__u64 wakes;

	for (cpu = 0; cpu < rings->cpus; cpu++)
		next[cpu] = head_of(cpu);
	storm_begin(&storm, nr, calls);
	while (storm_goes_on(&storm)) {
		if (poll(&polled, 1, 10) == 1 && read(fd, &wakes, sizeof(wakes)) != sizeof(wakes))
			fail("read: %s", strerror(errno));
		drain();
	}
	drain();
	printf("%lu read, %lu lost\n", storm.read, lost);
}

/* ---- */

static void mapped(const char *command)
{
	close(fd);
	exit(WEXITSTATUS(system(command)));
}

static void must_fail(int failed, int error, const char *what)
{
	if (!failed || errno != error)
		fail("%s: %s", what, failed ? strerror(errno) : "it succeeds");
}

static void write_to(void)
{
	size_t size = size_of_all();

	must_fail(open(INTERCEPTOR_RING, O_RDWR) < 0, EROFS, "open to write");
	must_fail(mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED,
		  EACCES, "mmap to write");
	must_fail(mprotect((void *)memory, size, PROT_READ | PROT_WRITE), EACCES, "mprotect");
	must_fail(mmap(NULL, size + getpagesize(), PROT_READ, MAP_SHARED, fd, 0) == MAP_FAILED,
		  EINVAL, "mmap of more");
	must_fail(mmap(NULL, size, PROT_READ, MAP_SHARED, fd, getpagesize()) == MAP_FAILED,
		  EINVAL, "mmap from behind the header");
}

int main(int argc, char **argv)
{
	map();
	if (argc == 2 && !strcmp(argv[1], "print"))
		print();
	else if (argc == 4 && !strcmp(argv[1], "storm"))
		read_storm(argv[2], argv[3]);
	else if (argc == 3 && !strcmp(argv[1], "mapped"))
		mapped(argv[2]);
	else if (argc == 2 && !strcmp(argv[1], "write"))
		write_to();
	else
		return 2;
	return 0;
}
