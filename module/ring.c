// SPDX-License-Identifier: GPL-2.0
/* The rings of records that readers map. */
#include <linux/fs.h>
#include <linux/irq_work.h>
#include <linux/log2.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/percpu.h>
#include <linux/poll.h>
#include <linux/preempt.h>
#include <linux/sched.h>
#include <linux/timekeeping.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>

#include "abi.h"
#include "interceptor.h"
#include "rights.h"
#include "ring.h"

static void *rings;			/* the memory that readers map */
static unsigned long rings_size;
static unsigned int rings_mask;		/* one less than the records of a CPU, */
static unsigned int rings_shift;	/* and the logarithm of these */
static DEFINE_PER_CPU(struct interceptor_ring *, ring_of_cpu);

/* ---- Readers ---- */

static DECLARE_WAIT_QUEUE_HEAD(ring_readers);

static void ring_wake(struct irq_work *work)
{
	wake_up_interruptible(&ring_readers);
}

static struct irq_work ring_waking;

/*
 * Grows each time that a ring has got another INTERCEPTOR_RING_WAKES records. It
 * counts modulo RING_WAKES_MASK + 1, as the heads wrap.
 */
#define RING_WAKES_MASK		(ULONG_MAX / INTERCEPTOR_RING_WAKES)

static unsigned long ring_wakes(void)
{
	unsigned long wakes = 0;
	int cpu;

	for_each_possible_cpu(cpu)
		wakes += READ_ONCE(per_cpu(ring_of_cpu, cpu)->head) / INTERCEPTOR_RING_WAKES;
	return wakes & RING_WAKES_MASK;
}

/* What the last read() of a file has reported. Several threads may read it. */
static unsigned long *ring_reported(struct file *file)
{
	return (unsigned long *)&file->private_data;
}

static int ring_open(struct inode *inode, struct file *file)
{
	if (!is_root())
		return -EPERM;
	if (file->f_mode & FMODE_WRITE)
		return -EROFS;
	*ring_reported(file) = ring_wakes();
	return 0;
}

static __poll_t ring_poll(struct file *file, poll_table *wait)
{
	poll_wait(file, &ring_readers, wait);
	return ring_wakes() == READ_ONCE(*ring_reported(file)) ? 0 : EPOLLIN | EPOLLRDNORM;
}

static ssize_t ring_read(struct file *file, char __user *buffer, size_t size, loff_t *offset)
{
	unsigned long last, wakes;
	u64 count;

	if (size < sizeof(count))
		return -EINVAL;
	do {
		last = READ_ONCE(*ring_reported(file));
		wakes = ring_wakes();
	} while (cmpxchg(ring_reported(file), last, wakes) != last);
	count = (wakes - last) & RING_WAKES_MASK;
	return copy_to_user(buffer, &count, sizeof(count)) ? -EFAULT : sizeof(count);
}

static int ring_mmap(struct file *file, struct vm_area_struct *vma)
{
	return remap_vmalloc_range(vma, rings, vma->vm_pgoff);
}

static const struct file_operations ring_operations = {
	.owner = THIS_MODULE,
	.open = ring_open,
	.poll = ring_poll,
	.read = ring_read,
	.mmap = ring_mmap,
};

static struct miscdevice ring_device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = KBUILD_MODNAME,
	.fops = &ring_operations,
	.mode = 0400,
};

/* ---- Writers ---- */

noinline void ring_write(struct pt_regs *regs)
{
	struct interceptor_record *record;
	struct interceptor_ring *ring;
	unsigned long head;

	preempt_disable_notrace();
	ring = this_cpu_read(ring_of_cpu);
	head = ring->head;
	record = (void *)ring + PAGE_SIZE;
	record += head & rings_mask;
	/*
	 * A reader that finds this record half overwritten finds the head that says
	 * so: the head of the record before is written first.
	 */
	smp_wmb();
	record->time = ktime_get_mono_fast_ns();
	record->pid = current->pid;
	record->nr = syscall_get_nr(current, regs);
	record->abi = abi_current() != abis;
	record->lap = head >> rings_shift;
	abi_arguments(regs, record->args);
	smp_store_release(&ring->head, head + 1);	/* the record comes first */
	if (!((head + 1) % INTERCEPTOR_RING_WAKES))
		irq_work_queue(&ring_waking);
	preempt_enable_notrace();
}

int ring_create(unsigned int records)
{
	struct interceptor_rings *header;
	unsigned long stride = PAGE_SIZE +
		PAGE_ALIGN((unsigned long)records * sizeof(struct interceptor_record));
	int cpu, err;

	if (rings)
		return 0;
	rings_size = PAGE_SIZE + stride * nr_cpu_ids;
	/* The kernel would kill processes to get that much. */
	if ((long)(rings_size >> PAGE_SHIFT) > si_mem_available())
		return -ENOMEM;
	rings = vmalloc_user(rings_size);
	if (!rings)
		return -ENOMEM;
	rings_mask = records - 1;
	rings_shift = ilog2(records);
	for_each_possible_cpu(cpu)
		per_cpu(ring_of_cpu, cpu) = rings + PAGE_SIZE + stride * cpu;
	header = rings;
	header->version = INTERCEPTOR_RING_VERSION;
	header->cpus = nr_cpu_ids;
	header->records = records;
	header->record_size = sizeof(struct interceptor_record);
	header->first = PAGE_SIZE;
	header->stride = stride;
	header->data = PAGE_SIZE;
	init_irq_work(&ring_waking, ring_wake);
	err = misc_register(&ring_device);
	if (err) {
		vfree(rings);
		rings = NULL;
	}
	return err;
}

void ring_destroy(void)
{
	if (!rings)
		return;
	misc_deregister(&ring_device);
	irq_work_sync(&ring_waking);
	vfree(rings);
	rings = NULL;
}
