// SPDX-License-Identifier: GPL-2.0
/* The handlers of each ABI, and the numbers that one call has in both. */
#include <linux/kernel.h>
#include <linux/string.h>

#include "abi.h"

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

unsigned long native_originals[NR_syscalls];

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

const unsigned short ia32_natives[IA32_NR_syscalls] = {
#include "ia32-natives.h"
};

struct syscall_abi abis[ABIS] = {
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

#else

struct syscall_abi abis[ABIS] = { ABI_NATIVE };

#endif

int abi_number(const struct syscall_abi *abi, int call)
{
	unsigned int nr;

	for (nr = 0; nr < abi->count; nr++)
		if (abi_call(abi, nr) == call)
			return nr;
	return -1;
}

const char *abi_handler(const struct syscall_abi *abi, unsigned int nr)
{
	return abi->handlers[nr] ?: abi->unimplemented;
}

/* The name of a handler without its ABI's prefix, such as "__x64_". */
static const char *abi_function(const char *handler)
{
	return strchr(handler + 2, '_');
}

bool abi_serves_one(const struct syscall_abi *abi, unsigned int nr)
{
	const char *handler = abi->handlers[nr];
	const struct syscall_abi *other;
	int call = abi_call(abi, nr);
	unsigned int i;

	for (other = abis; handler && other < abis + ABIS; other++)
		for (i = 0; i < other->count; i++)
			if (other->handlers[i] &&
			    abi_call(other, i) != call &&
			    !strcmp(abi_function(other->handlers[i]),
				    abi_function(handler)))
				return false;
	return handler;
}
