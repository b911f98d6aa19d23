// SPDX-License-Identifier: GPL-2.0
/* Has a line that runs in each of its states, and one that never does. */
#include <linux/module.h>

static int result;
module_param(result, int, 0400);
MODULE_PARM_DESC(result, "what init returns");

static int calls;

static noinline void never(void)
{
	calls--; /* never */
}

static int add_set(const char *value, const struct kernel_param *param)
{
	if (sysfs_streq(value, "never"))
		never();
	if (sysfs_streq(value, "crash"))
		BUG(); /* crashes */
	calls++; /* called */
	return 0;
}

static const struct kernel_param_ops add_ops = { .set = add_set };
module_param_cb(add, &add_ops, NULL, 0200);
MODULE_PARM_DESC(add, "calls once more, or crashes");

static int __init counted_init(void)
{
	calls = result; /* loaded */
	return result;
}

static void __exit counted_exit(void)
{
	calls = 0; /* unloaded */
}

module_init(counted_init);
module_exit(counted_exit);

MODULE_DESCRIPTION("Has its code counted");
MODULE_LICENSE("GPL");
