// SPDX-License-Identifier: GPL-2.0
/* Has ftrace give up for good, as it does when it finds code that it did not write. */
#include <linux/kprobes.h>
#include <linux/module.h>

static int __init giveup_init(void)
{
	struct kprobe probe = {
		.symbol_name = "ftrace_kill",
		.flags = KPROBE_FLAG_DISABLED,
	};
	void (*ftrace_kill)(void);
	int err;

	err = register_kprobe(&probe);
	if (err)
		return err;
	ftrace_kill = (void *)probe.addr;
	unregister_kprobe(&probe);
	ftrace_kill();
	return 0;
}

static void __exit giveup_exit(void)
{
}

module_init(giveup_init);
module_exit(giveup_exit);

MODULE_DESCRIPTION("Has ftrace give up");
MODULE_LICENSE("GPL");
