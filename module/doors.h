/* SPDX-License-Identifier: GPL-2.0 */
/*
 * By which ways a process issues a system call, each with numbers of its own.
 *
 * There is the native door. A kernel for amd64 has a second one, for 32-bit
 * programs (int 0x80, which 64-bit programs can use as well), with i386's
 * numbers. A call is one and the same by whichever door it comes: it is known
 * by its native number, and by NR_syscalls and its own number if only the
 * 32-bit door has one of its name. 32-bit programs on arm64 are left alone.
 */
#ifndef INTERCEPTOR_DOORS_H
#define INTERCEPTOR_DOORS_H

#include <linux/compat.h>
#include <linux/nospec.h>
#include <linux/sched.h>
#include <asm/syscall.h>
#include <asm/unistd.h>

struct door {
	const char *mark;		/* in the log, of calls by this door */
	const char *dispatcher;		/* the kernel's function that serves it */
	const char * const *handlers;	/* by number; NULL: not implemented */
	const char *unimplemented;	/* the handler of those */
	unsigned int count;		/* of numbers */
	unsigned long *table;		/* of handlers, where that is what counts */
	unsigned long *originals;	/* what stood there */
};

/*
 * The handler of each number, from the generated lists that the kernel's own
 * dispatcher is made of. Numbers that these leave out are not implemented.
 */
#define DOOR_HANDLER(nr, name)						\
	[nr] = DOOR_PREFIX #name,
#define __SYSCALL_NORETURN(nr, name)	__SYSCALL(nr, name)
/* Up to 5.13 the lists of x86 say so (commit 6218d0f6b8dc in 5.14). */
#define __SYSCALL_I386(nr, name)	__SYSCALL(nr, name)
#define __SYSCALL_64(nr, name)		__SYSCALL(nr, name)
#define __SYSCALL_COMMON(nr, name)	__SYSCALL(nr, name)
#define __SYSCALL_X32(nr, name)

#undef __SYSCALL
#define __SYSCALL(nr, name)		DOOR_HANDLER(nr, name)
#define __SYSCALL_WITH_COMPAT(nr, name, compat)	__SYSCALL(nr, name)

#if defined(CONFIG_X86_32)
#define DOOR_PREFIX			"__ia32_"
#define DOOR_DISPATCHER			"do_int80_syscall_32"
static const char * const native_handlers[NR_syscalls] = {
#include <asm/syscalls_32.h>
};
#elif defined(CONFIG_X86_64)
#define DOOR_PREFIX			"__x64_"
#define DOOR_DISPATCHER			"do_syscall_64"
static const char * const native_handlers[NR_syscalls] = {
#include <asm/syscalls_64.h>
};
#elif defined(CONFIG_ARM64)
#define DOOR_PREFIX			"__arm64_"
#define DOOR_DISPATCHER			"do_el0_svc"
static const char * const native_handlers[NR_syscalls] = {
#include DOOR_LIST
};
#else
#error "the module is written for i386, amd64 and arm64"
#endif

static unsigned long native_originals[NR_syscalls];

#define DOOR_NATIVE {							\
	.mark = "",							\
	.dispatcher = DOOR_DISPATCHER,					\
	.handlers = native_handlers,					\
	.unimplemented = DOOR_PREFIX "sys_ni_syscall",			\
	.count = NR_syscalls,						\
	.originals = native_originals,					\
}

#if defined(CONFIG_X86_64) && defined(CONFIG_IA32_EMULATION)

#undef __SYSCALL_WITH_COMPAT
#define __SYSCALL_WITH_COMPAT(nr, name, compat) __SYSCALL(nr, compat)
#undef DOOR_HANDLER
#define DOOR_HANDLER(nr, name)						\
	[nr] = "__ia32_" #name,
static const char * const ia32_handlers[IA32_NR_syscalls] = {
#include <asm/syscalls_32.h>
};

static unsigned long ia32_originals[IA32_NR_syscalls];

/* One more than the native number of the call of the same name, 0: none. */
static const unsigned short ia32_natives[IA32_NR_syscalls] = {
#include "ia32-natives.h"
};

#define DOORS		2
#define DOOR_CALLS	(NR_syscalls + IA32_NR_syscalls)

static struct door doors[DOORS] = {
	DOOR_NATIVE,
	{
		.mark = " i386",
		.dispatcher = "do_int80_syscall_32",
		.handlers = ia32_handlers,
		.unimplemented = "__ia32_sys_ni_syscall",
		.count = IA32_NR_syscalls,
		.originals = ia32_originals,
	},
};

/* The door by which the current task came in, NULL: one that is left alone. */
static __always_inline struct door *door_current(void)
{
	return unlikely(in_ia32_syscall()) ? &doors[1] : &doors[0];
}

/* The call of that number, -1 if there is none. */
static __always_inline int door_call(const struct door *door, unsigned int nr)
{
	if (door == &doors[0])
		return nr < NR_syscalls ? array_index_nospec(nr, NR_syscalls) :
		       -1;
	if (nr >= IA32_NR_syscalls)
		return -1;
	nr = array_index_nospec(nr, IA32_NR_syscalls);
	return ia32_natives[nr] ? ia32_natives[nr] - 1 : NR_syscalls + nr;
}

#else

#define DOORS		1
#define DOOR_CALLS	NR_syscalls

static struct door doors[DOORS] = { DOOR_NATIVE };

static __always_inline struct door *door_current(void)
{
	/* 32-bit programs on arm64 come to the same handlers. */
	return IS_ENABLED(CONFIG_ARM64) && in_compat_syscall() ? NULL : doors;
}

static __always_inline int door_call(const struct door *door, unsigned int nr)
{
	return nr < NR_syscalls ? array_index_nospec(nr, NR_syscalls) : -1;
}

#endif

/* What of a number is not the number: programs with x32's numbers, if enabled. */
#if defined(CONFIG_X86_X32_ABI) || defined(CONFIG_X86_X32)
#define DOOR_NUMBER	(~__X32_SYSCALL_BIT)
#else
#define DOOR_NUMBER	(~0U)
#endif

/* The call that the current task has issued, -1: none that is known. */
static __always_inline int door_issued(struct pt_regs *regs)
{
	unsigned int nr = syscall_get_nr(current, regs) & DOOR_NUMBER;
	const struct door *door = door_current();

	/* So said, the native door's calls pay nothing for there being another. */
	if (likely(door == &doors[0]))
		return door_call(&doors[0], nr);
	return door ? door_call(door, nr) : -1;
}

/*
 * The number that the current task has issued, as an index of its door's arrays.
 * The kernel has checked it, which doesn't keep a CPU from guessing.
 */
static __always_inline unsigned int door_index(struct pt_regs *regs)
{
	unsigned int nr = syscall_get_nr(current, regs) & DOOR_NUMBER;
	const struct door *door = door_current();

	if (likely(door == &doors[0]))
		return array_index_nospec(nr, NR_syscalls);
	return door ? array_index_nospec(nr, door->count) : 0;
}

/*
 * Where in an array of all calls to look first, by the index of the door: at the
 * call that the current task has issued, if it is a known one. If door_issued()
 * says -1, at another.
 */
static __always_inline unsigned int door_first_look(unsigned int index)
{
	const struct door *door = door_current();

	if (likely(door == &doors[0]))
		return index;
	return door ? door_call(door, index) : 0;
}

/*
 * What the call was given, before the original is carried out. The generic
 * function has the first argument of arm64 as it was when the call was issued;
 * a tracer can change it, and the original takes what is in the register. A
 * 64-bit program may come by the 32-bit door, which has the lower halves of its
 * registers alone.
 */
static __always_inline void door_arguments(struct pt_regs *regs,
					   unsigned long arg[6])
{
	int i;

	syscall_get_arguments(current, regs, arg);
#ifdef CONFIG_ARM64
	arg[0] = regs->regs[0];
#endif
	if (IS_ENABLED(CONFIG_X86_64) && door_current() != &doors[0])
		for (i = 0; i < 6; i++)
			arg[i] = (u32)arg[i];
}

/* The number that a call has by that door, -1: it doesn't come by it. */
static int door_number(const struct door *door, int call)
{
	unsigned int nr;

	for (nr = 0; nr < door->count; nr++)
		if (door_call(door, nr) == call)
			return nr;
	return -1;
}

static const char *door_handler(const struct door *door, unsigned int nr)
{
	return door->handlers[nr] ?: door->unimplemented;
}

#endif /* INTERCEPTOR_DOORS_H */
