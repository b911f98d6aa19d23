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
 * that is here, except in hook_choose() and hooks_free(), before the first
 * command and after the last.
 */
#ifndef INTERCEPTOR_HOOK_H
#define INTERCEPTOR_HOOK_H

#include <linux/kprobes.h>
#include <linux/list.h>
#include <linux/sched/task_stack.h>

#include "abi.h"
#include "handler.h"
#include "stubs.h"

/*
 * What a hook does, in the form that each method needs: see DEFINE_HOOK_BEFORE().
 * The entries and directs are arrays of stubs, one for each call, NULL if the
 * action has none.
 */
struct hook_action {
	void (*entry)(void);		/* stands in the table */
	void (*entries)(void);
	void (*direct)(void);		/* is called by the handler */
	void (*directs)(void);
	kprobe_pre_handler_t probe;
	bool redirects;			/* something else may run instead */
};

struct hook {
	struct list_head list;
	unsigned long where;		/* the table's entry, or the handler */
	unsigned int users;		/* numbers that this handler serves */
	const struct hook_action *action;
	unsigned long *entry;		/* of the table, mapped: hook_open() */
	unsigned long stub;		/* what stands there */
	struct handler_hook handler;
	bool stuck;			/* it can't be disarmed, and is called */
};

/* The address of the original handler of the current task's call; @index is its abi_index(). */
static __always_inline unsigned long hook_original(unsigned int index)
{
	const struct syscall_abi *abi = abi_current();

	if (likely(abi == &abis[0]))
		return native_originals[index];
	return abi->originals[index];
}

/*
 * Each of the following defines NAME_action, for hooks_install(), from functions
 * that are passed by name. The table calls NAME_entry, an ftrace direct call
 * NAME_direct, and a kprobe NAME_probe. DEFINE_HOOK_BEFORE(call, wanted,
 * before_call), for example, is:
 *
 *   call_entry:  call = abi_issued(regs);
 *		  if (wanted(call)) before_call(regs, call);
 *		  jump to hook_original(abi_index(regs))
 *   call_direct: if (wanted(call)) before_call(regs, call);
 *		  return into the handler
 *   call_probe:  the same, for the registers of the task
 *
 * A call that is unknown (-1) is wanted by nobody.
 */
#define DEFINE_HOOK_FUNCTIONS(name, wanted, before)			\
	static __used notrace void name##_early(struct pt_regs *regs)	\
	{								\
		int call = abi_issued(regs);				\
									\
		if (call >= 0 && (wanted)(call))			\
			before(regs, call);				\
	}								\
	static noinline notrace unsigned long name##_late(struct pt_regs *regs, \
							  unsigned long call) \
	{								\
		before(regs, call);					\
		return hook_original(abi_index(regs));			\
	}								\
	static __used notrace unsigned long name##_next(struct pt_regs *regs) \
	{								\
		int call = abi_issued(regs);				\
									\
		return call >= 0 && (wanted)(call) ?			\
		       name##_late(regs, call) :			\
		       hook_original(abi_index(regs));			\
	}								\
	static int name##_probe(struct kprobe *probe, struct pt_regs *regs) \
	{								\
		name##_early(task_pt_regs(current));			\
		return 0;						\
	}								\
	STUB_TAIL(name##_entry, name##_next);				\
	STUB_BEFORE(name##_direct, name##_early)

/* Run before(regs, call) before a system call, if wanted(call) is true. */
#define DEFINE_HOOK_BEFORE(name, wanted, before)			\
	DEFINE_HOOK_FUNCTIONS(name, wanted, before);			\
	static const struct hook_action name##_action = {		\
		.entry = name##_entry,					\
		.direct = STUB_CALLED(name##_direct),			\
		.probe = name##_probe,					\
	}

/*
 * Run before(regs, call) before a system call whose byte in @bytes isn't 0, if
 * wanted(call) is true, and define NAME_wanted(call) for both. Where the byte is
 * 0, the call costs that test alone: each call has a stub of its own, which has
 * the addresses of the byte and of the original. The rest is out of line, as it
 * saves registers.
 */
#define DEFINE_HOOK_BEFORE_BY_BYTE(name, bytes, wanted, before)		\
	static __always_inline bool name##_wanted(unsigned long call)	\
	{								\
		/* What the byte stands for was written before it. */	\
		return smp_load_acquire(&(bytes)[call]) && (wanted)(call); \
	}								\
	DEFINE_HOOK_FUNCTIONS(name, name##_wanted, before);		\
	static noinline notrace void name##_if_issued(unsigned long call) \
	{								\
		struct pt_regs *regs = task_pt_regs(current);		\
									\
		if (!ABI_HANDLER_IS_SHARED || abi_issued(regs) == call)	\
			before(regs, call);				\
	}								\
	static __used notrace void name##_early_of(unsigned long call)	\
	{								\
		smp_rmb();	/* after the stub's test: as name##_wanted() */ \
		if (wanted(call))					\
			name##_if_issued(call);				\
	}								\
	static noinline notrace unsigned long name##_late_of(unsigned long call) \
	{								\
		name##_if_issued(call);					\
		return READ_ONCE(native_originals[call]);		\
	}								\
	static __used notrace unsigned long name##_next_of(unsigned long call) \
	{								\
		smp_rmb();	/* as in name##_early_of() */		\
		return wanted(call) ? name##_late_of(call) :		\
		       READ_ONCE(native_originals[call]);		\
	}								\
	STUBS_TAIL(name##_entries, bytes, native_originals, name##_next_of, NR_syscalls); \
	STUBS_BEFORE(name##_directs, bytes, name##_early_of, ABI_CALLS); \
	static const struct hook_action name##_action = {		\
		.entry = name##_entry,					\
		.entries = name##_entries,				\
		.direct = STUB_CALLED(name##_direct),			\
		.directs = STUB_CALLED(name##_directs),			\
		.probe = name##_probe,					\
	}

/* Have the function run instead whose address instead(regs) is, unless that is 0. */
#define DEFINE_HOOK_INSTEAD(name, instead)				\
	static __used notrace unsigned long name##_next(struct pt_regs *regs) \
	{								\
		return instead(regs) ?: hook_original(abi_index(regs));	\
	}								\
	static int name##_probe(struct kprobe *probe, struct pt_regs *regs) \
	{								\
		unsigned long address = instead(task_pt_regs(current));	\
									\
		if (address)						\
			instruction_pointer_set(regs, address);		\
		return address != 0;					\
	}								\
	STUB_TAIL(name##_entry, name##_next);				\
	STUB_INSTEAD(name##_direct, instead);				\
	static const struct hook_action name##_action = {		\
		.entry = name##_entry,					\
		.direct = STUB_CALLED(name##_direct),			\
		.probe = name##_probe,					\
		.redirects = true,					\
	}

/**
 * hook_choose() - Find out which method this kernel needs. Changes nothing.
 * @method: "auto", or the one to use.
 *
 * Return: 0, -EINVAL if there is no such method, -ENODEV if it can't work here;
 * the reason is logged.
 */
int __init hook_choose(const char *method);

/**
 * hooks_install() - Put an action in front of a system call, by each ABI that has it.
 * @hooks: of the call: [i] is its hook in abis[i], NULL if it has none there.
 * @call: the call, as an index of an array of ABI_CALLS.
 * @action: what is to run. Where a hook is in use already, because several
 *	numbers share a handler, its action stays, and has one more user: for
 *	exit_group(), that is the action that forgets the process.
 * @direct: hook a handler by an ftrace direct call if the kernel can.
 * @prefix: what to log before the reason if that fails.
 *
 * Return: 0, -ENOENT if the kernel has no such handler, -ENODEV if ftrace or
 * kprobes are off, -ENOMEM, -EUCLEAN if a hook is registered, does not run, and
 * can't be removed, or another error that kept the call from being hooked. On an
 * error, @hooks keeps only the hooks that could not be removed again.
 */
int hooks_install(struct hook *hooks[ABIS], int call,
		  const struct hook_action *action, bool direct,
		  const char *prefix);

/**
 * hooks_remove() - Give a system call back, by each ABI.
 * @hooks: of the call.
 * @call: the call.
 *
 * A task may still be inside a stub: hook_barrier() waits for those.
 *
 * Return: 0; -ENOMEM with nothing changed; or the error that keeps one of the
 * hooks, which is logged: -EBUSY, somebody else has replaced the entry since;
 * -ENODEV, ftrace has given up.
 */
int hooks_remove(struct hook *hooks[ABIS], int call);

/**
 * hooks_any() - Is a system call hooked, by any ABI?
 * @hooks: of the call. calls_lock is held.
 */
bool hooks_any(struct hook *const hooks[ABIS]);

/**
 * hooks_are_live() - Do all hooks of a system call run?
 * @hooks: of the call. calls_lock is held.
 *
 * Somebody may have switched ftrace or kprobes off, or replaced an entry.
 */
bool hooks_are_live(struct hook *const hooks[ABIS]);

/* The mechanism of a hook, for the log. */
const char *hook_method_name(const struct hook *hook);

/*
 * Wait until each task that was inside a stub, or on its last instructions out
 * of this module, has left. None of them sleeps there, but any may have been
 * preempted there.
 */
void hook_barrier(void);

/*
 * Prepare all hooks for being removed one after the other, with the waiting
 * done once. They may miss calls from now on.
 */
void hooks_retire(void);

/* Free all hooks. They are disarmed, and hook_barrier() came after that. */
void hooks_free(void);

#endif /* INTERCEPTOR_HOOK_H */
