/* SPDX-License-Identifier: GPL-2.0 */
/*
 * How a function is put in front of the handler of a system call.
 *
 * A kernel that reaches its system calls through a compiled switch (BHI
 * mitigation, commit 1e3ad78334a6 in 6.9 and in the stable series) reads no
 * table: there the handler itself is hooked, the one function that serves the
 * number, __ia32_sys_mkdir() for example. A system call that isn't hooked runs
 * unchanged code.
 *
 * The means is an ftrace direct call: the nop at the entry of the handler
 * becomes a call of a stub. Where the kernel can't do that (a handler compiled
 * without ftrace, or one that somebody else has taken, a BPF trampoline say)
 * it is a kprobe, which costs more and does the same. Either way the function
 * has returned before the handler starts, so that no frame of this module is
 * on the stack of a process that sleeps inside its system call.
 *
 * A hook that was made stays until hooks_free(), to be armed again: while it
 * is disarmed, ftrace may still be looking at it.
 *
 * Callers serialise: calls_lock in interceptor.c protects all that is here.
 */
#ifndef INTERCEPTOR_HOOK_H
#define INTERCEPTOR_HOOK_H

#include <linux/ftrace.h>
#include <linux/kprobes.h>
#include <linux/linkage.h>
#include <linux/list.h>
#include <linux/rcupdate.h>
#include <linux/sched/task_stack.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <asm/linkage.h>
#include <asm/unistd.h>

/* What a hook does, in the form that each means needs. */
struct hook_action {
	void (*stub)(void);		/* target of the direct call */
	kprobe_pre_handler_t probe;	/* for all else */
};

struct hook {
	struct list_head list;
	unsigned long handler;
	unsigned int users;		/* numbers that this handler serves */
	const struct hook_action *action;
	bool direct;			/* by ops, else by probe */
	struct ftrace_ops ops;
	struct kprobe probe;
};

static LIST_HEAD(hooks);

#ifndef CONFIG_X86_32
#error "stubs are written for i386"
#endif

/*
 * The handler of each number, from the generated list that the kernel's own
 * dispatcher is made of. Numbers that it leaves out are not implemented.
 */
#define __SYSCALL(nr, name)						\
	[nr] = "__ia32_" #name,
#define __SYSCALL_WITH_COMPAT(nr, name, compat) __SYSCALL(nr, name)
#define __SYSCALL_NORETURN(nr, name) __SYSCALL(nr, name)
static const char * const hook_handlers[NR_syscalls] = {
#include <asm/syscalls_32.h>
};

static const char *hook_handler(unsigned int nr)
{
	return hook_handlers[nr] ?: "__ia32_sys_ni_syscall";
}

/*
 * A stub runs at the very first instruction of a handler, called by it. At
 * that point %eax has the handler's only argument, its struct pt_regs (kernel
 * functions take their arguments in registers, regparm(3)), and nothing else
 * is live that a C function may change.
 */

/* Call @function(regs), then go on with the handler. */
#define HOOK_STUB_BEFORE(stub, function)				\
	void stub(void);						\
	asm(".pushsection .text, \"ax\", @progbits\n"			\
	    ".type " #stub ", @function\n"				\
	    #stub ":\n"							\
	    "	push	%eax\n"						\
	    "	call	" #function "\n"				\
	    "	pop	%eax\n"						\
	    "	" ASM_RET						\
	    ".size " #stub ", .-" #stub "\n"				\
	    ".popsection\n")

/*
 * If @condition(regs), run @function(regs) instead of the handler: the return
 * address into the handler is dropped, and @function returns to who called it.
 */
#define HOOK_STUB_INSTEAD(stub, condition, function)			\
	void stub(void);						\
	asm(".pushsection .text, \"ax\", @progbits\n"			\
	    ".type " #stub ", @function\n"				\
	    #stub ":\n"							\
	    "	push	%eax\n"						\
	    "	call	" #condition "\n"				\
	    "	test	%al, %al\n"					\
	    "	pop	%eax\n"						\
	    "	jz	1f\n"						\
	    "	add	$4, %esp\n"					\
	    "	jmp	" #function "\n"				\
	    "1:	" ASM_RET						\
	    ".size " #stub ", .-" #stub "\n"				\
	    ".popsection\n")

/*
 * The address of a kernel function, 0 if there is none of this name. A probe
 * that is born disabled changes no code, and its address is filled in even
 * where registering fails because the function may not be probed.
 */
static unsigned long hook_symbol(const char *name)
{
	struct kprobe probe = {
		.symbol_name = name,
		.flags = KPROBE_FLAG_DISABLED,
	};

	if (!register_kprobe(&probe))
		unregister_kprobe(&probe);
	return (unsigned long)probe.addr;
}

/* Can this kernel hook at all? Changes nothing. */
static int __init hook_check(void)
{
	if (IS_ENABLED(CONFIG_KPROBES) && IS_ENABLED(CONFIG_FUNCTION_TRACER))
		return 0;
	pr_err(KBUILD_MODNAME ": not loaded: the kernel lacks kprobes or ftrace\n");
	return -ENODEV;
}

/* The instruction at the entry of a handler, to see that it did change. */
struct hook_entry {
	u8 code[MCOUNT_INSN_SIZE];
};

static struct hook_entry hook_read_entry(const struct hook *hook)
{
	struct hook_entry entry = {};

	copy_from_kernel_nofault(entry.code, (void *)hook->handler,
				 sizeof(entry.code));
	return entry;
}

/*
 * A kprobe's handler may send the CPU elsewhere only if the probe has a post
 * handler, too: that makes ftrace keep other redirections (live patches) away
 * (FTRACE_OPS_FL_IPMODIFY, commit 0bc11ed5ab60 in 5.6).
 */
static void hook_probe_post(struct kprobe *probe, struct pt_regs *regs,
			    unsigned long flags)
{
}

static int hook_arm_probe(struct hook *hook)
{
	hook->probe = (struct kprobe) {
		.addr = (kprobe_opcode_t *)hook->handler,
		.pre_handler = hook->action->probe,
		.post_handler = hook_probe_post,
	};
	return register_kprobe(&hook->probe);
}

/*
 * Who else traces the handler (the function tracer, a kprobe) makes ftrace call
 * all of them in turn, and then i386 has no way to a direct call: its
 * ftrace_regs_caller ignores what arch_ftrace_set_direct_caller() asks for (6.1).
 * So each hook has a callback, which ftrace calls in that case alone.
 */
static void hook_shared(unsigned long ip, unsigned long parent_ip,
			struct ftrace_ops *ops, struct ftrace_regs *fregs)
{
	struct hook *hook = container_of(ops, struct hook, ops);

	hook->action->probe(&hook->probe, ftrace_get_regs(fregs));
}

static int hook_arm_direct(struct hook *hook)
{
	int err;

	/* By address: where two names share one, ftrace knows only one. */
	err = ftrace_set_filter_ip(&hook->ops, hook->handler, 0, 0);
	if (err)
		return err;
	err = register_ftrace_direct_multi(&hook->ops,
					   (unsigned long)hook->action->stub);
	if (err)
		return err;
	/* Registering sets these anew, so that they can't be set before (6.1). */
	hook->ops.func = hook_shared;
	hook->ops.flags |= FTRACE_OPS_FL_PERMANENT;
	return 0;
}

static void hook_disarm_direct(struct hook *hook)
{
	/*
	 * With this flag ftrace would wait until nobody looks at the ops, for
	 * each of them: a minute for all numbers. hook_barrier() waits once.
	 */
	hook->ops.flags &= ~FTRACE_OPS_FL_DYNAMIC;
	unregister_ftrace_direct_multi(&hook->ops,
				       (unsigned long)hook->action->stub);
}

static void hook_disarm(struct hook *hook)
{
	if (hook->direct)
		hook_disarm_direct(hook);
	else
		unregister_kprobe(&hook->probe);
}

/*
 * With the sysctl ftrace_enabled at 0, ftrace and the kprobes that are built
 * on it may register and do nothing: believe the code, not the return value.
 * (FTRACE_OPS_FL_PERMANENT keeps that sysctl from being changed later.)
 */
static int hook_arm(struct hook *hook, bool direct)
{
	struct hook_entry before = hook_read_entry(hook), after;
	int err;

	err = direct ? hook_arm_direct(hook) : -EOPNOTSUPP;
	hook->direct = !err;
	if (err)
		err = hook_arm_probe(hook);
	if (err)
		return err;

	after = hook_read_entry(hook);
	if (memcmp(&before, &after, sizeof(before)))
		return 0;
	hook_disarm(hook);
	return -ENODEV;
}

static struct hook *hook_find(unsigned long handler)
{
	struct hook *hook;

	list_for_each_entry(hook, &hooks, list)
		if (hook->handler == handler)
			return hook;
	hook = kzalloc(sizeof(*hook), GFP_KERNEL);
	if (!hook)
		return NULL;
	hook->handler = handler;
	list_add(&hook->list, &hooks);
	return hook;
}

/*
 * Put @action in front of the handler of system call @nr, or count one more
 * user of the hook that is there already.
 *
 * Return: the hook, or an error pointer: -ENOENT if the kernel has no such
 * handler, -ENOMEM, or what kept ftrace and kprobes from hooking it.
 */
static struct hook *hook_install(unsigned int nr,
				 const struct hook_action *action, bool direct)
{
	unsigned long handler = hook_symbol(hook_handler(nr));
	struct hook *hook;
	int err;

	if (!handler)
		return ERR_PTR(-ENOENT);
	hook = hook_find(handler);
	if (!hook)
		return ERR_PTR(-ENOMEM);
	if (!hook->users) {
		hook->action = action;
		err = hook_arm(hook, direct);
		if (err)
			return ERR_PTR(err);
	}
	hook->users++;
	return hook;
}

/*
 * Give the handler back when nobody uses the hook any more. A task may still
 * be inside the stub: hook_barrier() waits for those.
 */
static void hook_remove(struct hook *hook)
{
	if (!--hook->users)
		hook_disarm(hook);
}

/* What to tell of an error that kept a hook from being installed. */
static const char *hook_why(int err)
{
	switch (err) {
	case -ENOENT:
		return "the kernel has no such function";
	case -ENODEV:
		return "ftrace is off: sysctl kernel.ftrace_enabled=1";
	default:
		return "ftrace and kprobes refuse";
	}
}

static const char *hook_means(const struct hook *hook)
{
	return hook->direct ? "ftrace direct call" : "kprobe";
}

/*
 * Wait until each task that was inside a stub, or on its last instructions out
 * of this module, has left. None of them sleeps there, but any may have been
 * preempted there.
 */
static void hook_barrier(void)
{
	synchronize_rcu_tasks_rude();	/* inside ftrace, not preemptible */
	synchronize_rcu_tasks();
}

/* Free all hooks. They are disarmed, and hook_barrier() came after that. */
static void hooks_free(void)
{
	struct hook *hook, *next;

	list_for_each_entry_safe(hook, next, &hooks, list) {
		ftrace_free_filter(&hook->ops);
		kfree(hook);
	}
}

#endif /* INTERCEPTOR_HOOK_H */
