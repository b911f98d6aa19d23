// SPDX-License-Identifier: GPL-2.0
/* Somebody else's kprobes, which have a post handler: they are never optimised. */
#include <linux/kprobes.h>
#include <linux/module.h>

#define MOST 4

static char *functions[MOST];
static int count;
module_param_array(functions, charp, &count, 0444);

/* How often each handler was called at the first function. */
static uint before, after;
module_param(before, uint, 0444);
module_param(after, uint, 0444);

static struct kprobe probes[MOST], *all[MOST];

static int pre(struct kprobe *probe, struct pt_regs *regs)
{
	before += probe == &probes[0];
	return 0;
}

static void post(struct kprobe *probe, struct pt_regs *regs, unsigned long flags)
{
	after += probe == &probes[0];
}

static int __init postprobe_init(void)
{
	int i;

	for (i = 0; i < count; i++) {
		probes[i].symbol_name = functions[i];
		probes[i].pre_handler = pre;
		probes[i].post_handler = post;
		all[i] = &probes[i];
	}
	return register_kprobes(all, count);
}

static void __exit postprobe_exit(void)
{
	unregister_kprobes(all, count);
}

module_init(postprobe_init);
module_exit(postprobe_exit);

MODULE_DESCRIPTION("Probes functions, with post handlers");
MODULE_LICENSE("GPL");
