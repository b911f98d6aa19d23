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
	unsigned long *table;		/* of handlers, if the kernel uses one */
	unsigned long *originals;	/* what stood there */
};

#if defined(CONFIG_X86_64) && defined(CONFIG_IA32_EMULATION)
#define ABIS		2
#define ABI_CALLS	(NR_syscalls + IA32_NR_syscalls)

/* One more than the native number of the call of the same name, 0 if there is none. */
extern const unsigned short ia32_natives[IA32_NR_syscalls];
#else
#define ABIS		1
#define ABI_CALLS	NR_syscalls
#endif

/* The native ABI comes first. */
extern struct syscall_abi abis[ABIS];
extern unsigned long native_originals[NR_syscalls];

/**
 * abi_number() - The number that a call has in an ABI.
 * @abi: the ABI.
 * @call: the call, as an index of an array of ABI_CALLS.
 *
 * Return: the number, or -1 if that ABI lacks the call.
 */
int abi_number(const struct syscall_abi *abi, int call);

/**
 * abi_handler() - The name of the kernel's function that serves a number.
 * @abi: the ABI that the number belongs to.
 * @nr: the number.
 */
const char *abi_handler(const struct syscall_abi *abi, unsigned int nr);

/**
 * abi_serves_one() - Does the handler of a number serve one call alone?
 * @abi: the ABI that the number belongs to.
 * @nr: the number.
 *
 * On amd64 a handler without arguments is the same function for both ABIs, under
 * two names.
 *
 * Return: whether it does. Calls of x32 and emulated vsyscalls aren't considered:
 * see ABI_HANDLER_IS_SHARED.
 */
bool abi_serves_one(const struct syscall_abi *abi, unsigned int nr);

#if ABIS > 1

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

/*
 * Whether a handler may run for another call than its own: amd64's serve x32's
 * numbers, if the kernel has those, and emulated vsyscalls, where none was issued.
 */
#define ABI_HANDLER_IS_SHARED	IS_ENABLED(CONFIG_X86_64)

/* Masks off the bit that marks x32's numbers, where the kernel has that ABI. */
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
 * The kernel has checked it, which doesn't keep a CPU from speculating.
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

#endif /* INTERCEPTOR_ABI_H */
