// SPDX-License-Identifier: GPL-2.0
/* Does one thing wrong each time that its parameter "now" is written: the one that is named. */
#include <linux/cpumask.h>
#include <linux/delay.h>
#include <linux/kthread.h>
#include <linux/list.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/rcupdate.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/string.h>

#define SIZE 96 /* has a slab of its own in each kernel: bytes */

/* Who calls this, and this, have frames of their own on the stack, as no call is their last act. */
static noinline void use(void *memory)
{
	OPTIMIZER_HIDE_VAR(memory);
	memset(memory, 'A', 1);
	barrier();
}

static void write_after_free(void)
{
	char *memory = kmalloc(SIZE, GFP_KERNEL);

	kfree(memory);
	use(memory + SIZE / 2);
	barrier();
}

static void write_behind(void)
{
	char *memory = kmalloc(SIZE, GFP_KERNEL);

	use(memory + SIZE);
	kfree(memory);
}

static void free_twice(void)
{
	void *memory = kmalloc(SIZE, GFP_KERNEL);
	void *again = memory;

	OPTIMIZER_HIDE_VAR(again);
	kfree(memory);
	kfree(again);
}

static char sink;

static void read_after_free(void)
{
	char *memory = kmalloc(SIZE, GFP_KERNEL);
	char *again = memory;

	OPTIMIZER_HIDE_VAR(again);
	kfree(memory);
	WRITE_ONCE(sink, *again);
}

static void *volatile lost;

static void leak(void)
{
	lost = kmalloc(SIZE, GFP_KERNEL);
	lost = NULL;
}

static void sleep_in_atomic(void)
{
	static DEFINE_SPINLOCK(lock);

	spin_lock(&lock);
	msleep(20);
	spin_unlock(&lock);
}

static void lock_order(void)
{
	static DEFINE_MUTEX(one);
	static DEFINE_MUTEX(other);

	mutex_lock(&one);
	mutex_lock(&other);
	mutex_unlock(&other);
	mutex_unlock(&one);
	mutex_lock(&other);
	mutex_lock(&one);
	mutex_unlock(&one);
	mutex_unlock(&other);
}

static void rcu_unlocked(void)
{
	static void __rcu *pointer;

	WRITE_ONCE(sink, rcu_dereference(pointer) != NULL);
}

static void shift_too_far(void)
{
	int by = 40;

	OPTIMIZER_HIDE_VAR(by);
	WRITE_ONCE(sink, 1 << by);
}

static unsigned long raced;

static int race_on(void *unused)
{
	while (!kthread_should_stop()) {
		raced++;
		barrier(); /* or the compiler may keep it in a register */
		cond_resched();
	}
	return 0;
}

static void race(void)
{
	struct task_struct *other = kthread_create(race_on, NULL, "misuse");
	unsigned long end = jiffies + 2 * HZ;

	if (IS_ERR(other))
		return;
	kthread_bind(other, cpumask_any_but(cpu_online_mask, raw_smp_processor_id()));
	wake_up_process(other);
	while (time_before(jiffies, end)) {
		raced++;
		barrier(); /* or the compiler may keep it in a register */
		cond_resched();
	}
	kthread_stop(other);
}

static void nothing(void)
{
}

static const struct {
	const char *name;
	void (*do_it)(void);
} misuses[] = {
	{ "nothing", nothing },
	{ "write-after-free", write_after_free },
	{ "read-after-free", read_after_free },
	{ "write-behind", write_behind },
	{ "free-twice", free_twice },
	{ "leak", leak },
	{ "sleep-in-atomic", sleep_in_atomic },
	{ "lock-order", lock_order },
	{ "rcu-unlocked", rcu_unlocked },
	{ "shift-too-far", shift_too_far },
	{ "race", race },
};

static int now_set(const char *value, const struct kernel_param *param)
{
	size_t at;

	for (at = 0; at < ARRAY_SIZE(misuses); at++) {
		if (sysfs_streq(value, misuses[at].name)) {
			misuses[at].do_it();
			return 0;
		}
	}
	return -EINVAL;
}

static const struct kernel_param_ops now_ops = { .set = now_set };
module_param_cb(now, &now_ops, NULL, 0200);
MODULE_PARM_DESC(now, "what to do wrong now");

MODULE_DESCRIPTION("Does things wrong, to be found out");
MODULE_LICENSE("GPL");
