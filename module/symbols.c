// SPDX-License-Identifier: GPL-2.0
/*
 * Where the kernel's functions are. Nothing that is looked up here is called:
 * kernels with indirect branch tracking have sealed many of them.
 */
#include <linux/kallsyms.h>
#include <linux/kprobes.h>
#include <linux/string.h>

#include "symbols.h"

bool symbol_has(const char *name, unsigned long address)
{
	char found[KSYM_SYMBOL_LEN];

	sprint_symbol_no_offset(found, address);
	return !strcmp(found, name);
}

/*
 * A probe that is born disabled changes no code, and its address is filled in
 * even where registering fails because the function may not be probed.
 */
unsigned long symbol_code(const char *name)
{
	struct kprobe probe = {
		.symbol_name = name,
		.flags = KPROBE_FLAG_DISABLED,
	};

	if (!register_kprobe(&probe))
		unregister_kprobe(&probe);
	return (unsigned long)probe.addr;
}

unsigned long symbol_address(const char *name)
{
	unsigned long address = symbol_code(name);

#ifdef CONFIG_X86_KERNEL_IBT
	if (address && symbol_has(name, address - 4))
		address -= 4;
#endif
	return address;
}
