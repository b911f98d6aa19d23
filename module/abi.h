/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The ABIs by which a process issues a system call, each with numbers of its own.
 *
 * There is the native ABI. A kernel for amd64 has a second one, for 32-bit
 * programs (int 0x80, which 64-bit programs can use as well), with i386's
 * numbers. A call is the same call by each ABI that has it: it is known by
 * its native number, or by NR_syscalls plus its own number if only the 32-bit
 * ABI has a call of that name. 32-bit programs on arm64 are left alone.
 */
#ifndef INTERCEPTOR_ABI_H
#define INTERCEPTOR_ABI_H

#include <linux/compat.h>
#include <linux/nospec.h>
#include <linux/sched.h>
#include <asm/syscall.h>
#include <asm/unistd.h>

struct syscall_abi {
	const char *mark;		/* in the log, of calls by this ABI */
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
#define ABI_HANDLER(nr, name)						\
	[nr] = ABI_PREFIX #name,
#define __SYSCALL_NORETURN(nr, name)	__SYSCALL(nr, name)
/* Up to 5.13 the lists of x86 say so (commit 6218d0f6b8dc in 5.14). */
#define __SYSCALL_I386(nr, name)	__SYSCALL(nr, name)
#define __SYSCALL_64(nr, name)		__SYSCALL(nr, name)
#define __SYSCALL_COMMON(nr, name)	__SYSCALL(nr, name)
#define __SYSCALL_X32(nr, name)

#undef __SYSCALL
#define __SYSCALL(nr, name)		ABI_HANDLER(nr, name)
#define __SYSCALL_WITH_COMPAT(nr, name, compat)	__SYSCALL(nr, name)

#if defined(CONFIG_X86_32)
#define ABI_PREFIX			"__ia32_"
#define ABI_DISPATCHER			"do_int80_syscall_32"
static const char * const native_handlers[NR_syscalls] = {
#include <asm/syscalls_32.h>
};
#elif defined(CONFIG_X86_64)
#define ABI_PREFIX			"__x64_"
#define ABI_DISPATCHER			"do_syscall_64"
static const char * const native_handlers[NR_syscalls] = {
#include <asm/syscalls_64.h>
};
#elif defined(CONFIG_ARM64)
#define ABI_PREFIX			"__arm64_"
#define ABI_DISPATCHER			"do_el0_svc"
static const char * const native_handlers[NR_syscalls] = {
#include ABI_LIST
};
#else
#error "the module is written for i386, amd64 and arm64"
#endif

static unsigned long native_originals[NR_syscalls];

#define ABI_NATIVE {							\
	.mark = "",							\
	.dispatcher = ABI_DISPATCHER,					\
	.handlers = native_handlers,					\
	.unimplemented = ABI_PREFIX "sys_ni_syscall",			\
	.count = NR_syscalls,						\
	.originals = native_originals,					\
}

#if defined(CONFIG_X86_64) && defined(CONFIG_IA32_EMULATION)

#undef __SYSCALL_WITH_COMPAT
#define __SYSCALL_WITH_COMPAT(nr, name, compat) __SYSCALL(nr, compat)
#undef ABI_HANDLER
#define ABI_HANDLER(nr, name)						\
	[nr] = "__ia32_" #name,
static const char * const ia32_handlers[IA32_NR_syscalls] = {
#include <asm/syscalls_32.h>
};

static unsigned long ia32_originals[IA32_NR_syscalls];

/* One more than the native number of the call of the same name, 0: none. */
static const unsigned short ia32_natives[IA32_NR_syscalls] = {
#include "ia32-natives.h"
};

#define ABIS		2
#define ABI_CALLS	(NR_syscalls + IA32_NR_syscalls)

static struct syscall_abi abis[ABIS] = {
	ABI_NATIVE,
	{
		.mark = " i386",
		.dispatcher = "do_int80_syscall_32",
		.handlers = ia32_handlers,
		.unimplemented = "__ia32_sys_ni_syscall",
		.count = IA32_NR_syscalls,
		.originals = ia32_originals,
	},
};

/* The ABI of the current task's system call, NULL if that ABI is left alone. */
static __always_inline struct syscall_abi *abi_current(void)
{
	return unlikely(in_ia32_syscall()) ? &abis[1] : &abis[0];
}

/* The call of that number, -1 if there is none. */
static __always_inline int abi_call(const struct syscall_abi *abi, unsigned int nr)
{
	if (abi == &abis[0])
		return nr < NR_syscalls ? array_index_nospec(nr, NR_syscalls) :
		       -1;
	if (nr >= IA32_NR_syscalls)
		return -1;
	nr = array_index_nospec(nr, IA32_NR_syscalls);
	return ia32_natives[nr] ? ia32_natives[nr] - 1 : NR_syscalls + nr;
}

#else

#define ABIS		1
#define ABI_CALLS	NR_syscalls

static struct syscall_abi abis[ABIS] = { ABI_NATIVE };

static __always_inline struct syscall_abi *abi_current(void)
{
	/* 32-bit programs on arm64 come to the same handlers. */
	return IS_ENABLED(CONFIG_ARM64) && in_compat_syscall() ? NULL : abis;
}

static __always_inline int abi_call(const struct syscall_abi *abi, unsigned int nr)
{
	return nr < NR_syscalls ? array_index_nospec(nr, NR_syscalls) : -1;
}

#endif

/* What of a number is not the number: programs with x32's numbers, if enabled. */
#if defined(CONFIG_X86_X32_ABI) || defined(CONFIG_X86_X32)
#define ABI_NUMBER_MASK	(~__X32_SYSCALL_BIT)
#else
#define ABI_NUMBER_MASK	(~0U)
#endif

/* The call that the current task has issued, -1 if it is unknown. */
static __always_inline int abi_issued(struct pt_regs *regs)
{
	unsigned int nr = syscall_get_nr(current, regs) & ABI_NUMBER_MASK;
	const struct syscall_abi *abi = abi_current();

	/* Written as two branches so that native calls don't pay for the other table. */
	if (likely(abi == &abis[0]))
		return abi_call(&abis[0], nr);
	return abi ? abi_call(abi, nr) : -1;
}

/*
 * The number that the current task has issued, as an index of its ABI's arrays.
 * The kernel has checked it, which doesn't keep a CPU from guessing.
 */
static __always_inline unsigned int abi_index(struct pt_regs *regs)
{
	unsigned int nr = syscall_get_nr(current, regs) & ABI_NUMBER_MASK;
	const struct syscall_abi *abi = abi_current();

	if (likely(abi == &abis[0]))
		return array_index_nospec(nr, NR_syscalls);
	return abi ? array_index_nospec(nr, abi->count) : 0;
}

/*
 * Where in an array of all calls to look first, by the index of the ABI: at the
 * call that the current task has issued, if it is a known one. If abi_issued()
 * says -1, at another.
 */
static __always_inline unsigned int abi_first_look(unsigned int index)
{
	const struct syscall_abi *abi = abi_current();

	if (likely(abi == &abis[0]))
		return index;
	return abi ? abi_call(abi, index) : 0;
}

/*
 * What the call was given, before the original is carried out. The generic
 * function has the first argument of arm64 as it was when the call was issued;
 * a tracer can change it, and the original takes what is in the register. A
 * 64-bit program may use the 32-bit ABI, which takes only the lower halves of its
 * registers.
 */
static __always_inline void abi_arguments(struct pt_regs *regs,
					  unsigned long arg[6])
{
	int i;

	syscall_get_arguments(current, regs, arg);
#ifdef CONFIG_ARM64
	arg[0] = regs->regs[0];
#endif
	if (IS_ENABLED(CONFIG_X86_64) && abi_current() != &abis[0])
		for (i = 0; i < 6; i++)
			arg[i] = (u32)arg[i];
}

/* The number that a call has by that ABI, -1: it doesn't come by it. */
static int abi_number(const struct syscall_abi *abi, int call)
{
	unsigned int nr;

	for (nr = 0; nr < abi->count; nr++)
		if (abi_call(abi, nr) == call)
			return nr;
	return -1;
}

static const char *abi_handler(const struct syscall_abi *abi, unsigned int nr)
{
	return abi->handlers[nr] ?: abi->unimplemented;
}

#endif /* INTERCEPTOR_ABI_H */
