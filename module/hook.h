/* SPDX-License-Identifier: GPL-2.0 */
/*
 * How a function is put in front of a system call, in one of two ways: table.h
 * replaces its entry in the kernel's table, handler.h hooks the function that
 * serves it. Either way the function has returned before the system call is
 * carried out: no frame of this module is on the stack of a process that sleeps
 * in there.
 *
 * A hook that was made stays until hooks_free(), to be armed again: while it
 * is disarmed, somebody may still be looking at it.
 *
 * Callers serialise: calls_lock in interceptor.c protects all that is here.
 */
#ifndef INTERCEPTOR_HOOK_H
#define INTERCEPTOR_HOOK_H

#include <linux/list.h>
#include <linux/module.h>
#include <linux/rcupdate.h>
#include <linux/sched/task_stack.h>
#include <linux/slab.h>

#include "doors.h"
#include "handler.h"
#include "stubs.h"
#include "symbols.h"
#include "table.h"

/* What a hook does, in the form that each way needs: see HOOK_BEFORE(). */
struct hook_action {
	void (*entry)(void);		/* stands in the table */
	void (*direct)(void);		/* is called by the handler */
	kprobe_pre_handler_t probe;
};

struct hook {
	struct list_head list;
	unsigned long where;		/* the table's entry, or the handler */
	unsigned int users;		/* numbers that this handler serves */
	const struct hook_action *action;
	struct handler_hook handler;
	bool covered;			/* by somebody else's entry */
};

static LIST_HEAD(hooks);
static bool hook_by_table;

/* Where the system call that the current task is in goes on. */
static unsigned long hook_original(struct pt_regs *regs)
{
	const struct door *door = door_current();
	int nr = syscall_get_nr(current, regs);

	if (likely(door == &doors[0]))
		return native_originals[nr];
	return door->originals[nr];
}

#define HOOK_ACTION(name)						\
	static const struct hook_action name##_action = {		\
		.entry = name##_entry,					\
		.direct = STUB_CALLED(name##_direct),			\
		.probe = name##_probe,					\
	}

/*
 * Have before_name(regs) run before a system call, where name_wanted(regs) says
 * so. Where not, no more is paid than to find that out: all else saves registers.
 */
#define HOOK_BEFORE(name)						\
	static __used notrace void name##_early(struct pt_regs *regs)	\
	{								\
		if (name##_wanted(regs))				\
			before_##name(regs);				\
	}								\
	static noinline notrace unsigned long name##_late(struct pt_regs *regs) \
	{								\
		before_##name(regs);					\
		return hook_original(regs);				\
	}								\
	static __used notrace unsigned long name##_next(struct pt_regs *regs) \
	{								\
		return name##_wanted(regs) ? name##_late(regs) :	\
		       hook_original(regs);				\
	}								\
	STUB_NEXT(name##_entry, name##_next);				\
	STUB_BEFORE(name##_direct, name##_early);			\
	static int name##_probe(struct kprobe *probe, struct pt_regs *regs) \
	{								\
		name##_early(task_pt_regs(current));			\
		return 0;						\
	}								\
	HOOK_ACTION(name)

/* Have the function run instead whose address instead_of_name(regs) is, unless 0. */
#define HOOK_INSTEAD(name)						\
	static __used notrace unsigned long name##_next(struct pt_regs *regs) \
	{								\
		return instead_of_##name(regs) ?: hook_original(regs);	\
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
	HOOK_ACTION(name)

/* Find out which way this kernel needs. Changes nothing. */
static int __init hook_choose(const char *way)
{
	const char *through = NULL;
	int i;

	if (!IS_ENABLED(CONFIG_KPROBES)) {
		pr_err(KBUILD_MODNAME ": not loaded: the kernel lacks kprobes\n");
		return -ENODEV;
	}
	if (strcmp(way, "auto") && strcmp(way, "table") && strcmp(way, "handler")) {
		pr_err(KBUILD_MODNAME ": not loaded: way=%s: it is auto, table or handler\n",
		       way);
		return -EINVAL;
	}
	for (i = 0; i < DOORS && strcmp(way, "handler"); i++) {
		doors[i].table = table_find(&doors[i]);
		if (!doors[i].table)
			through = doors[i].dispatcher;
	}
	hook_by_table = !through && strcmp(way, "handler");
	if (hook_by_table || strcmp(way, "table"))
		return 0;
	pr_err(KBUILD_MODNAME ": not loaded: way=table: %s() of this kernel reads no table of system calls: way=auto\n",
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

static int hook_arm_table(struct hook *hook, struct door *door, unsigned int nr)
{
	unsigned long *entry = (unsigned long *)hook->where;
	unsigned long original = READ_ONCE(*entry);

	WRITE_ONCE(door->originals[nr], original);
	return table_swap(entry, original, (unsigned long)hook->action->entry);
}

static int hook_disarm_table(struct hook *hook, struct door *door,
			     unsigned int nr)
{
	unsigned long *entry = (unsigned long *)hook->where;
	int err;

	err = table_swap(entry, (unsigned long)hook->action->entry,
			 door->originals[nr]);
	if (err == -EBUSY && !hook->covered)
		pr_warn(KBUILD_MODNAME ": system call %u%s was taken over by %ps: it can't be given back before that is gone\n",
			nr, door->mark, (void *)READ_ONCE(*entry));
	/* Who stands in front of us goes on to us: that must not vanish. */
	if (err && !hook->covered)
		__module_get(THIS_MODULE);
	else if (!err && hook->covered)
		module_put(THIS_MODULE);
	hook->covered = err;
	return err;
}

static int hook_arm_handler(struct hook *hook, bool direct)
{
	hook->handler.address = hook->where;
	hook->handler.stub = hook->action->direct;
	hook->handler.run = hook->action->probe;
	return handler_arm(&hook->handler, direct);
}

/*
 * Put @action in front of system call @nr of @door, or count one more user of
 * the hook that is there already.
 *
 * Return: the hook, or an error pointer: -ENOENT if the kernel has no such
 * handler, -ENOMEM, or what kept it from being hooked.
 */
static struct hook *hook_install(struct door *door, unsigned int nr,
				 const struct hook_action *action, bool direct)
{
	unsigned long where = hook_by_table ? (unsigned long)&door->table[nr] :
			      symbol_address(door_handler(door, nr));
	struct hook *hook;
	int err;

	if (!where)
		return ERR_PTR(-ENOENT);
	hook = hook_find(where);
	if (!hook)
		return ERR_PTR(-ENOMEM);
	if (!hook->users) {
		hook->action = action;
		err = hook_by_table ? hook_arm_table(hook, door, nr) :
		      hook_arm_handler(hook, direct);
		if (err)
			return ERR_PTR(err);
	}
	hook->users++;
	return hook;
}

/*
 * Give the system call back when nobody uses the hook any more. A task may
 * still be inside the stub: hook_barrier() waits for those.
 *
 * Return: 0, or what keeps it from being given back: -EBUSY, somebody else has
 * replaced the entry since.
 */
static int hook_remove(struct hook *hook, struct door *door, unsigned int nr)
{
	int err = 0;

	if (hook->users > 1) {
		hook->users--;
		return 0;
	}
	if (hook_by_table)
		err = hook_disarm_table(hook, door, nr);
	else
		handler_disarm(&hook->handler);
	if (!err)
		hook->users = 0;
	return err;
}

/* What to tell of an error that kept a hook from being installed. */
static const char *hook_why(int err)
{
	switch (err) {
	case -ENOENT:
		return "the kernel has no such function";
	case -ENODEV:
		return "ftrace is off: sysctl kernel.ftrace_enabled=1";
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
	synchronize_rcu_tasks_rude();	/* inside ftrace, not preemptible */
	synchronize_rcu_tasks();
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
