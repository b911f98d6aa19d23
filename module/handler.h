/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The handler way: the one function that serves a number is hooked at its
 * entry, __ia32_sys_mkdir() for example. What isn't hooked runs unchanged code.
 *
 * The means is an ftrace direct call: the nop at the entry of the handler
 * becomes a call of a stub. Where the kernel can't do that (a handler compiled
 * without ftrace, or one that somebody else has taken, a BPF trampoline say)
 * it is a kprobe, which costs more and does the same.
 */
#ifndef INTERCEPTOR_HANDLER_H
#define INTERCEPTOR_HANDLER_H

#include <linux/ftrace.h>
#include <linux/kprobes.h>
#include <linux/uaccess.h>

#include "compat.h"

/* What is called at the entry of a handler, in the form that each means needs. */
struct handler_hook {
	unsigned long address;
	void (*stub)(void);		/* target of the direct call */
	kprobe_pre_handler_t run;	/* for all else */
	bool direct;			/* by ops, else by probe */
	struct ftrace_ops ops;
	struct kprobe probe;
};

/* The first instructions of a handler, to see that they did change. */
struct handler_entry {
	u8 code[12];
};

static struct handler_entry handler_read(const struct handler_hook *hook)
{
	struct handler_entry entry = {};

	copy_from_kernel_nofault(entry.code, (void *)hook->address,
				 sizeof(entry.code));
	return entry;
}

/*
 * A kprobe's handler may send the CPU elsewhere only if the probe has a post
 * handler, too: that makes ftrace keep other redirections (live patches) away
 * (FTRACE_OPS_FL_IPMODIFY, commit 0bc11ed5ab60 in 5.6).
 */
static void handler_post(struct kprobe *probe, struct pt_regs *regs,
			 unsigned long flags)
{
}

static int handler_arm_probe(struct handler_hook *hook)
{
	hook->probe = (struct kprobe) {
		.addr = (kprobe_opcode_t *)hook->address,
		.pre_handler = hook->run,
		.post_handler = handler_post,
	};
	return register_kprobe(&hook->probe);
}

/*
 * Who else traces the handler (the function tracer, a kprobe) makes ftrace call
 * all of them in turn, and then i386 has no way to a direct call: its
 * ftrace_regs_caller ignores what arch_ftrace_set_direct_caller() asks for (6.1).
 * So each hook has a callback there, which ftrace calls in that case alone.
 */
static void __maybe_unused handler_shared(unsigned long ip,
					  unsigned long parent_ip,
					  struct ftrace_ops *ops,
					  struct compat_ftrace_regs *regs)
{
	struct handler_hook *hook = container_of(ops, struct handler_hook, ops);

	hook->run(&hook->probe, compat_pt_regs(regs));
}

static int handler_arm_direct(struct handler_hook *hook)
{
	int err;

	/* By address: where two names share one, ftrace knows only one. */
	err = ftrace_set_filter_ip(&hook->ops, hook->address, 0, 0);
	if (err)
		return err;
	err = compat_register_direct(&hook->ops, (unsigned long)hook->stub);
	if (err)
		return err;
	/* Registering sets these anew, so that they can't be set before (6.1). */
#ifdef CONFIG_X86_32
	hook->ops.func = handler_shared;
#endif
	hook->ops.flags |= FTRACE_OPS_FL_PERMANENT;
	return 0;
}

/*
 * A direct call keeps the sysctl ftrace_enabled from being set to 0, which would
 * switch the hijack off unseen. A kprobe that ftrace carries does not: where the
 * first hook is one, this looks at the same handler, and does nothing else.
 */
static void handler_keep(unsigned long ip, unsigned long parent_ip,
			 struct ftrace_ops *ops, struct compat_ftrace_regs *regs)
{
}

static struct ftrace_ops handler_keeper = {
	.func = handler_keep,
	.flags = FTRACE_OPS_FL_PERMANENT,
};

static unsigned int handlers_armed;
static bool handlers_kept;

static void handler_armed(const struct handler_hook *hook)
{
	if (handlers_armed++ || hook->direct ||
	    !IS_ENABLED(CONFIG_KPROBES_ON_FTRACE))
		return;
	handlers_kept = !ftrace_set_filter_ip(&handler_keeper, hook->address,
					      0, 0) &&
			!register_ftrace_function(&handler_keeper);
}

static void handler_disarmed(void)
{
	if (--handlers_armed || !handlers_kept)
		return;
	unregister_ftrace_function(&handler_keeper);
	ftrace_set_filter(&handler_keeper, NULL, 0, 1);
	handlers_kept = false;
}

/* Is it not our stub that the handler calls, but ftrace, for several? */
static bool handler_is_shared(const struct handler_hook *hook)
{
	struct handler_entry entry = handler_read(hook);
	int at = entry.code[0] == 0xe8 ? 0 : 4;		/* behind an endbr64 */
	s32 offset;

	memcpy(&offset, &entry.code[at + 1], sizeof(offset));
	return entry.code[at] != 0xe8 ||
	       hook->address + at + 5 + offset != (unsigned long)hook->stub;
}

static void handler_disarm_direct(struct handler_hook *hook)
{
	/*
	 * With this flag ftrace waits until nobody looks at the ops, for each
	 * of them: a minute for all numbers. hook_barrier() waits once. Only
	 * who goes through the list of several may be looking: unregistering
	 * takes the callback away (6.1).
	 */
	if (!handler_is_shared(hook))
		hook->ops.flags &= ~FTRACE_OPS_FL_DYNAMIC;
	compat_unregister_direct(&hook->ops, (unsigned long)hook->stub);
}

static void handler_disarm(struct handler_hook *hook)
{
	handler_disarmed();
	if (hook->direct)
		handler_disarm_direct(hook);
	else
		unregister_kprobe(&hook->probe);
}

/*
 * With the sysctl ftrace_enabled at 0, ftrace and the kprobes that are built
 * on it may register and do nothing: believe the code, not the return value.
 */
static int handler_arm(struct handler_hook *hook, bool direct)
{
	struct handler_entry before = handler_read(hook), after;
	int err;

	err = direct && COMPAT_HAS_DIRECT ? handler_arm_direct(hook) : -EOPNOTSUPP;
	hook->direct = !err;
	if (err)
		err = handler_arm_probe(hook);
	if (err)
		return err;

	handler_armed(hook);
	after = handler_read(hook);
	if (memcmp(&before, &after, sizeof(before)))
		return 0;
	handler_disarm(hook);
	return -ENODEV;
}

#endif /* INTERCEPTOR_HANDLER_H */
