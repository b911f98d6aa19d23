// SPDX-License-Identifier: GPL-2.0
/* A live patch of the handler of getsid(), which does for getsid(0) what that did. */
#include <linux/livepatch.h>
#include <linux/module.h>
#include <linux/sched.h>

static uint seen;
module_param(seen, uint, 0444);

static long patched_getsid(const struct pt_regs *regs)
{
	seen++;
	return task_session_vnr(current);
}

static struct klp_func functions[] = {
	{ .old_name = "__x64_sys_getsid", .new_func = patched_getsid },
	{ }
};

static struct klp_object objects[] = {
	{ .funcs = functions },	/* of the kernel itself */
	{ }
};

static struct klp_patch patch = {
	.mod = THIS_MODULE,
	.objs = objects,
};

static int __init patched_init(void)
{
	return klp_enable_patch(&patch);
}

static void __exit patched_exit(void)
{
}

module_init(patched_init);
module_exit(patched_exit);

MODULE_DESCRIPTION("Patches a system call");
MODULE_LICENSE("GPL");
MODULE_INFO(livepatch, "Y");
