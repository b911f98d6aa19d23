/* SPDX-License-Identifier: GPL-2.0 */
/*
 * How a function is put in front of a system call, by one of two methods: table.h
 * replaces its entry in the kernel's table, handler.h hooks the function that
 * serves it. Either way the function has returned before the system call is
 * carried out: no frame of this module is on the stack of a process that sleeps
 * in there.
 *
 * A hook that was made stays until hooks_free(), to be armed again: while it
 * is disarmed, somebody may still be looking at it. calls_lock protects all
 * that is here.
 */
#ifndef INTERCEPTOR_HOOK_H
#define INTERCEPTOR_HOOK_H

#include <linux/list.h>
#include <linux/module.h>
#include <linux/rcupdate.h>
#include <linux/sched/task_stack.h>
#include <linux/slab.h>

#include "abi.h"
#include "handler.h"
#include "lock.h"
#include "stubs.h"
#include "symbols.h"
#include "table.h"

/* What a hook does, in the form that each method needs: see HOOK_BEFORE(). */
struct hook_action {
	void (*entry)(void);		/* stands in the table */
	void (*direct)(void);		/* is called by the handler */
	kprobe_pre_handler_t probe;
	bool redirects;			/* something else may run instead */
};

struct hook {
	struct list_head list;
	unsigned long where;		/* the table's entry, or the handler */
	unsigned int users;		/* numbers that this handler serves */
	const struct hook_action *action;
	unsigned long *entry;		/* of the table, mapped: hook_open() */
	struct handler_hook handler;
	bool stuck;			/* it can't be disarmed, and is called */
};

static LIST_HEAD(hooks);
static bool hook_by_table;

/* Where the system call of that abi_index() goes on, which the current task is in. */
static __always_inline unsigned long hook_original(unsigned int index)
{
	const struct syscall_abi *abi = abi_current();

	if (likely(abi == &abis[0]))
		return native_originals[index];
	return abi->originals[index];
}

#define HOOK_ACTION(name, may_redirect)					\
	static const struct hook_action name##_action = {		\
		.entry = name##_entry,					\
		.direct = STUB_CALLED(name##_direct),			\
		.probe = name##_probe,					\
		.redirects = may_redirect,				\
	}

/*
 * Have before_name(regs) run before a system call, where name_wanted(abi_index())
 * says so. Where not, no more is paid than to find that out: all else saves registers.
 */
#define HOOK_BEFORE(name)						\
	static __used notrace void name##_early(struct pt_regs *regs)	\
	{								\
		if (name##_wanted(abi_index(regs)))			\
			before_##name(regs);				\
	}								\
	static noinline notrace unsigned long name##_late(struct pt_regs *regs) \
	{								\
		before_##name(regs);					\
		return hook_original(abi_index(regs));			\
	}								\
	static __used notrace unsigned long name##_next(struct pt_regs *regs) \
	{								\
		unsigned int index = abi_index(regs);			\
									\
		return name##_wanted(index) ? name##_late(regs) :	\
		       hook_original(index);				\
	}								\
	STUB_NEXT(name##_entry, name##_next);				\
	STUB_BEFORE(name##_direct, name##_early);			\
	static int name##_probe(struct kprobe *probe, struct pt_regs *regs) \
	{								\
		name##_early(task_pt_regs(current));			\
		return 0;						\
	}								\
	HOOK_ACTION(name, false)

/* Have the function run instead whose address instead_of_name(regs) is, unless 0. */
#define HOOK_INSTEAD(name)						\
	static __used notrace unsigned long name##_next(struct pt_regs *regs) \
	{								\
		return instead_of_##name(regs) ?:			\
		       hook_original(abi_index(regs));			\
	}								\
	STUB_NEXT(name##_entry, name##_next);				\
	STUB_INSTEAD(name##_direct, instead_of_##name);			\
	static int name##_probe(struct kprobe *probe, struct pt_regs *regs) \
	{								\
		unsigned long instead;					\
									\
		instead = instead_of_##name(task_pt_regs(current));	\
		if (instead)						\
			instruction_pointer_set(regs, instead);		\
		return instead != 0;					\
	}								\
	HOOK_ACTION(name, true)

/* Find out which method this kernel needs. Changes nothing. */
static int __init hook_choose(const char *method)
{
	const char *through = NULL;
	int i;

	if (!IS_ENABLED(CONFIG_KPROBES)) {
		pr_err(KBUILD_MODNAME ": not loaded: the kernel lacks kprobes\n");
		return -ENODEV;
	}
	if (strcmp(method, "auto") && strcmp(method, "table") && strcmp(method, "handler")) {
		pr_err(KBUILD_MODNAME ": not loaded: method=%s: it is auto, table or handler\n",
		       method);
		return -EINVAL;
	}
	for (i = 0; i < ABIS && strcmp(method, "handler"); i++) {
		abis[i].table = table_find(&abis[i]);
		if (!abis[i].table)
			through = abis[i].dispatcher;
	}
	hook_by_table = !through && strcmp(method, "handler");
	if (hook_by_table || strcmp(method, "table"))
		return 0;
	pr_err(KBUILD_MODNAME ": not loaded: method=table: %s() of this kernel reads no table of system calls: method=auto\n",
	       through);
	return -ENODEV;
}

static struct hook *hook_find(unsigned long where)
{
	struct hook *hook;

	list_for_each_entry(hook, &hooks, list)
		if (hook->where == where)
			return hook;
	hook = kzalloc(sizeof(*hook), GFP_KERNEL);
	if (!hook)
		return NULL;
	hook->where = where;
	list_add(&hook->list, &hooks);
	return hook;
}

static int hook_arm_table(struct hook *hook, struct syscall_abi *abi, unsigned int nr)
{
	unsigned long original = READ_ONCE(*hook->entry);

	WRITE_ONCE(abi->originals[nr], original);
	return table_swap(hook->entry, original,
			  (unsigned long)hook->action->entry);
}

/*
 * Somebody who was there before this module may have gone since, and have put
 * the kernel's own function back over its entry: that is given back, too.
 */
static int hook_disarm_table(struct hook *hook, struct syscall_abi *abi,
			     unsigned int nr)
{
	int err = table_swap(hook->entry, (unsigned long)hook->action->entry,
			     abi->originals[nr]);

	if (err && READ_ONCE(*hook->entry) ==
		   symbol_address(abi_handler(abi, nr)))
		err = 0;
	return err;
}

static int hook_arm_handler(struct hook *hook, bool direct)
{
	hook->handler.address = hook->where;
	hook->handler.stub = hook->action->direct;
	hook->handler.run = hook->action->probe;
	hook->handler.redirects = hook->action->redirects;
	hook->handler.retired = false;
	return handler_arm(&hook->handler, direct);
}

/*
 * Where the hook of a number goes, 0 if the kernel has no such handler. What
 * was looked up is kept: looking up costs a grace period.
 */
static unsigned long hook_place(struct syscall_abi *abi, unsigned int nr)
{
	if (hook_by_table)
		return (unsigned long)&abi->table[nr];
	if (!abi->originals[nr])
		abi->originals[nr] = symbol_code(abi_handler(abi, nr));
	return abi->originals[nr];
}

/* Say what keeps a hook from being taken back. */
static void hook_tell(const struct hook *hook, const struct syscall_abi *abi,
		      unsigned int nr, int err)
{
	if (hook_by_table)
		pr_warn(KBUILD_MODNAME ": system call %u%s was taken over by %ps: it can't be given back before that is gone\n",
			nr, abi->mark, *(void **)hook->where);
	else
		pr_warn(KBUILD_MODNAME ": %ps() calls this module, and ftrace has given up (%pe): only a reboot helps\n",
			(void *)hook->where, ERR_PTR(err));
}

/* Whoever still sends calls to this module would miss it: it must not vanish. */
static void hook_stick(struct hook *hook, bool stuck)
{
	if (stuck && !hook->stuck)
		__module_get(THIS_MODULE);
	else if (!stuck && hook->stuck)
		module_put(THIS_MODULE);
	hook->stuck = stuck;
}

/*
 * Get what memory is needed to arm or to disarm a hook, so that neither fails
 * half way for want of it.
 */
static int hook_open(struct hook *hook)
{
	lockdep_assert_held(&calls_lock);
	if (hook_by_table && !hook->entry)
		hook->entry = table_map((unsigned long *)hook->where);
	return hook_by_table && !hook->entry ? -ENOMEM : 0;
}

static void hook_close(struct hook *hook)
{
	lockdep_assert_held(&calls_lock);
	if (hook->entry)
		table_unmap(hook->entry);
	hook->entry = NULL;
}

/*
 * Put @action in front of system call @nr of @abi, or count one more user of
 * the hook that is there already. @installed is the hook then, which is left
 * open.
 *
 * Return: 0, -ENOENT if the kernel has no such handler, -ENOMEM, -EUCLEAN if it
 * is installed, does not run, and can't be removed, or what kept it from being
 * installed.
 */
static int hook_install(struct syscall_abi *abi, unsigned int nr,
			const struct hook_action *action, bool direct,
			struct hook **installed)
{
	unsigned long where = hook_place(abi, nr);
	struct hook *hook;
	int err;

	lockdep_assert_held(&calls_lock);
	if (!where)
		return -ENOENT;
	hook = hook_find(where);
	if (!hook)
		return -ENOMEM;
	err = hook_open(hook);
	if (err)
		return err;
	if (!hook->users) {
		hook->action = action;
		err = hook_by_table ? hook_arm_table(hook, abi, nr) :
		      hook_arm_handler(hook, direct);
		if (err && err != -EUCLEAN) {
			hook_close(hook);
			return err;
		}
	}
	hook->users++;
	*installed = hook;
	return err;
}

/*
 * Give the system call back when nobody uses the hook, which is open, any more.
 * A task may still be inside the stub: hook_barrier() waits for those.
 *
 * Return: 0, or what keeps it from being given back, which was logged: -EBUSY,
 * somebody else has replaced the entry since; -ENODEV, ftrace has given up.
 */
static int hook_remove(struct hook *hook, struct syscall_abi *abi, unsigned int nr)
{
	int err;

	lockdep_assert_held(&calls_lock);
	if (hook->users > 1) {
		hook->users--;
		hook_stick(hook, false);	/* it is wanted again */
		return 0;
	}
	err = hook_by_table ? hook_disarm_table(hook, abi, nr) :
	      handler_disarm(&hook->handler);
	if (!err)
		hook->users = 0;
	else if (!hook->stuck)
		hook_tell(hook, abi, nr, err);
	hook_stick(hook, err);
	return err;
}

/* Does the hook run, or has somebody switched it off? */
static bool hook_is_live(const struct hook *hook)
{
	if (hook_by_table)
		return READ_ONCE(*(unsigned long *)hook->where) ==
		       (unsigned long)hook->action->entry;
	return handler_is_live(&hook->handler);
}

/* What to tell of an error that kept a hook from being installed. */
static const char *hook_why(int err)
{
	switch (err) {
	case -ENOENT:
		return "the kernel has no such function";
	case -ENODEV:
		return handler_why_dead();
	case -ENOMEM:
		return "no memory";
	case -EBUSY:
		return "somebody else replaces its entry";
	default:
		return "ftrace and kprobes refuse";
	}
}

static const char *hook_means(const struct hook *hook)
{
	if (hook_by_table)
		return "table";
	return hook->handler.direct ? "ftrace direct call" : "kprobe";
}

/*
 * Wait until each task that was inside a stub, or on its last instructions out
 * of this module, has left. None of them sleeps there, but any may have been
 * preempted there.
 */
static void hook_barrier(void)
{
	/*
	 * Inside ftrace, not preemptible. It returns at once where the kernel
	 * has no code that RCU does not watch (7.3, ARCH_WANTS_NO_INSTR): the
	 * grace period below is enough there.
	 */
	synchronize_rcu_tasks_rude();
	synchronize_rcu_tasks();
}

/*
 * Prepare all hooks for being removed one after the other, with the waiting
 * done once. From here on they may miss calls.
 */
static void hooks_retire(void)
{
	struct kprobe **probes;
	struct hook *hook;
	int n = 0;

	lockdep_assert_held(&calls_lock);
	if (hook_by_table || ftrace_has_given_up())
		return;
	list_for_each_entry(hook, &hooks, list)
		n += hook->users && !hook->handler.direct;
	probes = kcalloc(n, sizeof(*probes), GFP_KERNEL);
	n = 0;
	list_for_each_entry(hook, &hooks, list) {
		if (!hook->users || (!hook->handler.direct && !probes))
			continue;
		handler_retire(&hook->handler);
		if (!hook->handler.direct)
			probes[n++] = &hook->handler.probe;
	}
	if (n)
		unregister_kprobes(probes, n);
	kfree(probes);
	hook_barrier();
}

/*
 * Free what the hooks were watched with; all are disarmed.
 *
 * Return: 0, or what keeps it: then the module must not vanish.
 */
static int hooks_unwatch(void)
{
	return handler_unkeep();
}

/* Free all hooks. They are disarmed, and hook_barrier() came after that. */
static void hooks_free(void)
{
	struct hook *hook, *next;

	list_for_each_entry_safe(hook, next, &hooks, list) {
		compat_free_filter(&hook->handler.ops);
		kfree(hook);
	}
}

#endif /* INTERCEPTOR_HOOK_H */
