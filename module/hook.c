// SPDX-License-Identifier: GPL-2.0
/* Which method hooks a system call, and the hooks that there are. */
#include <linux/list.h>
#include <linux/module.h>
#include <linux/rcupdate.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "compat.h"
#include "hook.h"
#include "lock.h"
#include "symbols.h"
#include "table.h"

static LIST_HEAD(all_hooks);
static bool hook_by_table;

int __init hook_choose(const char *method)
{
	/* A stub of assembler has no type that CFI knows. */
	bool by_table = strcmp(method, "handler") && !COMPAT_CFI;
	const char *through = NULL;
	int i;

	if (!IS_ENABLED(CONFIG_KPROBES)) {
		pr_err("not loaded: the kernel lacks kprobes\n");
		return -ENODEV;
	}
	if (strcmp(method, "auto") && strcmp(method, "table") && strcmp(method, "handler")) {
		pr_err("not loaded: there is no method=%s: it is auto, table or handler\n",
		       method);
		return -EINVAL;
	}
	for (i = 0; i < ABIS && by_table; i++) {
		abis[i].table = table_find(&abis[i]);
		if (!abis[i].table)
			through = abis[i].dispatcher;
	}
	hook_by_table = by_table && !through;
	if (hook_by_table || strcmp(method, "table"))
		return 0;
	if (COMPAT_CFI)
		pr_err("not loaded: this kernel checks the type of what its table of system calls has (CFI): load with method=auto\n");
	else
		pr_err("not loaded: %s() of this kernel uses no table of system calls: load with method=auto\n",
		       through);
	return -ENODEV;
}

static struct hook *hook_find(unsigned long where)
{
	struct hook *hook;

	list_for_each_entry(hook, &all_hooks, list)
		if (hook->where == where)
			return hook;
	hook = kzalloc(sizeof(*hook), GFP_KERNEL);
	if (!hook)
		return NULL;
	hook->where = where;
	list_add(&hook->list, &all_hooks);
	return hook;
}

static int hook_arm_table(struct hook *hook, struct syscall_abi *abi, unsigned int nr)
{
	unsigned long original = READ_ONCE(*hook->entry);

	hook->stub = (unsigned long)hook->action->entry;
	/* The stub of a call reads the original of its native number. */
	if (hook->action->entries && abi == &abis[0])
		hook->stub = (unsigned long)hook->action->entries + STUBS_SIZE * nr;
	WRITE_ONCE(abi->originals[nr], original);
	return table_swap(hook->entry, original, hook->stub);
}

/*
 * Somebody who was there before this module may have gone since, and have put
 * the kernel's own function back over its entry: that is given back, too.
 */
static int hook_disarm_table(struct hook *hook, struct syscall_abi *abi,
			     unsigned int nr)
{
	int err = table_swap(hook->entry, hook->stub, abi->originals[nr]);

	if (err && READ_ONCE(*hook->entry) ==
		   symbol_address(abi_handler(abi, nr)))
		err = 0;
	return err;
}

static int hook_arm_handler(struct hook *hook, const struct syscall_abi *abi,
			    unsigned int nr, bool direct)
{
	hook->handler.address = hook->where;
	hook->handler.stub = hook->action->direct;
	if (hook->action->directs && abi_serves_one(abi, nr))
		hook->handler.stub = (void *)((unsigned long)hook->action->directs +
					      STUBS_SIZE * abi_call(abi, nr));
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

/* Log what keeps a hook from being removed. */
static void hook_warn(const struct hook *hook, const struct syscall_abi *abi,
		      unsigned int nr, int err)
{
	if (hook_by_table)
		pr_warn("system call %u%s was taken over by %ps: it can't be given back before that is gone\n",
			nr, abi->mark, *(void **)hook->where);
	else
		pr_warn("%ps() calls this module, and ftrace has given up (%pe): only a reboot helps\n",
			(void *)hook->where, ERR_PTR(err));
}

/* While somebody else still jumps to this hook, the module must not be unloaded. */
static void hook_stick(struct hook *hook, bool stuck)
{
	if (stuck && !hook->stuck)
		__module_get(THIS_MODULE);
	else if (!stuck && hook->stuck)
		module_put(THIS_MODULE);
	hook->stuck = stuck;
}

/*
 * Get the memory that arming or disarming a hook takes, so that neither fails
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
 * Arm the hook of a number, or add a user to it. It is left open.
 *
 * Return: 0; -EUCLEAN: it is armed, does not run, and can't be disarmed; or
 * another error: it is not armed.
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
		      hook_arm_handler(hook, abi, nr, direct);
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
 * Drop one user of an open hook, and disarm it with the last one.
 *
 * Return: 0, or the error that keeps it armed, which is logged.
 */
static int hook_remove(struct hook *hook, struct syscall_abi *abi, unsigned int nr)
{
	int err;

	lockdep_assert_held(&calls_lock);
	if (hook->users > 1) {
		hook->users--;
		hook_stick(hook, false);	/* another number uses it */
		return 0;
	}
	err = hook_by_table ? hook_disarm_table(hook, abi, nr) :
	      handler_disarm(&hook->handler);
	if (!err)
		hook->users = 0;
	else if (!hook->stuck)
		hook_warn(hook, abi, nr, err);
	hook_stick(hook, err);
	return err;
}

static bool hook_is_live(const struct hook *hook)
{
	if (hook_by_table)
		return READ_ONCE(*(unsigned long *)hook->where) == hook->stub;
	return handler_is_live(&hook->handler);
}

static const char *hook_strerror(int err)
{
	switch (err) {
	case -ENOENT:
		return "the kernel has no such function";
	case -ENODEV:
	case -EUCLEAN:
		return handler_why_dead();
	case -ENOMEM:
		return "no memory";
	case -EBUSY:
		return "somebody else replaces its entry";
	default:
		return "ftrace and kprobes refuse";
	}
}

static void close_hooks(struct hook *const hooks[ABIS])
{
	int i;

	for (i = 0; i < ABIS; i++)
		if (hooks[i])
			hook_close(hooks[i]);
}

int hooks_remove(struct hook *hooks[ABIS], int call)
{
	int i, failed, err = 0;

	lockdep_assert_held(&calls_lock);
	for (i = 0; i < ABIS; i++) {
		if (hooks[i] && hook_open(hooks[i])) {
			close_hooks(hooks);
			return -ENOMEM;
		}
	}
	for (i = 0; i < ABIS; i++) {
		if (!hooks[i])
			continue;
		failed = hook_remove(hooks[i], &abis[i],
				     abi_number(&abis[i], call));
		hook_close(hooks[i]);
		if (failed)
			err = failed;
		else
			hooks[i] = NULL;
	}
	return err;
}

int hooks_install(struct hook *hooks[ABIS], int call,
		  const struct hook_action *action, bool direct,
		  const char *prefix)
{
	int i, nr, err;

	lockdep_assert_held(&calls_lock);
	for (i = 0; i < ABIS; i++) {
		nr = abi_number(&abis[i], call);
		if (nr < 0)
			continue;
		err = hook_install(&abis[i], nr, action, direct, &hooks[i]);
		if (err) {
			pr_err("%s: can't hook %s: %s (%pe)\n",
			       prefix, abi_handler(&abis[i], nr),
			       hook_strerror(err), ERR_PTR(err));
			hooks_remove(hooks, call);
			return err;
		}
	}
	close_hooks(hooks);
	return 0;
}

bool hooks_any(struct hook *const hooks[ABIS])
{
	int i;

	lockdep_assert_held(&calls_lock);
	for (i = 0; i < ABIS; i++)
		if (hooks[i])
			return true;
	return false;
}

bool hooks_are_live(struct hook *const hooks[ABIS])
{
	int i;

	lockdep_assert_held(&calls_lock);
	for (i = 0; i < ABIS; i++)
		if (hooks[i] && !hook_is_live(hooks[i]))
			return false;
	return true;
}

const char *hook_method_name(const struct hook *hook)
{
	if (hook_by_table)
		return "table";
	return hook->handler.direct ? "ftrace direct call" : "kprobe";
}

void hook_barrier(void)
{
	/*
	 * Inside ftrace, not preemptible. It returns at once where the kernel
	 * has no code that RCU does not watch (7.3, ARCH_WANTS_NO_INSTR): the
	 * grace period below is enough there.
	 */
	synchronize_rcu_tasks_rude();
	synchronize_rcu_tasks();
}

void hooks_retire(void)
{
	struct kprobe **probes;
	struct hook *hook;
	int n = 0;

	lockdep_assert_held(&calls_lock);
	if (hook_by_table || handler_ftrace_is_dead())
		return;
	list_for_each_entry(hook, &all_hooks, list)
		n += hook->users && !hook->handler.direct;
	probes = kcalloc(n, sizeof(*probes), GFP_KERNEL);
	n = 0;
	list_for_each_entry(hook, &all_hooks, list) {
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

void hooks_free(void)
{
	struct hook *hook, *next;

	list_for_each_entry_safe(hook, next, &all_hooks, list) {
		compat_free_filter(&hook->handler.ops);
		kfree(hook);
	}
}
