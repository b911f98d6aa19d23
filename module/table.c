// SPDX-License-Identifier: GPL-2.0
/*
 * The table method: the entry of a system call in the kernel's table is replaced.
 *
 * Whether a kernel reaches its system calls through a table is seen in the code
 * of its dispatcher: only one that does has the table's address in there. (One
 * with the BHI mitigation, commit 1e3ad78334a6 in 6.9 and in the stable series,
 * has a table as well, which nothing but tracing reads.)
 */
#include <linux/bitops.h>
#include <linux/mm.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>
#include <asm/cmpxchg.h>

#include "symbols.h"
#include "table.h"

#define TABLE_KNOWN	16	/* entries that are looked at */
#define TABLE_OTHERS	4	/* of which so many may be somebody else's by now */

/* Are these the addresses of the handlers that we know, each at its number? */
static bool __init is_table(const struct syscall_abi *abi, unsigned long address,
			    const unsigned long *known)
{
	unsigned long entries[TABLE_KNOWN];
	int nr, others = 0;

	if (!IS_ALIGNED(address, sizeof(long)) ||
	    copy_from_kernel_nofault(entries, (void *)address, sizeof(entries)))
		return false;
	for (nr = 0; nr < TABLE_KNOWN; nr++)
		others += entries[nr] != known[nr];
	return others <= TABLE_OTHERS;
}

#ifdef CONFIG_X86

/* The instruction that loads an entry has the table's address, of 32 bits. */
static unsigned long __init table_at(const struct syscall_abi *abi, unsigned long at,
				     const unsigned long *known)
{
	s32 found;

	if (copy_from_kernel_nofault(&found, (void *)at, sizeof(found)))
		return 0;
	return is_table(abi, (long)found, known) ? (long)found : 0;
}

#else /* CONFIG_ARM64 */

#define INSN_ADRP	0x90000000	/* rd = the page of pc, and immhi:immlo */
#define INSN_ADRP_MASK	0x9f000000
#define INSN_ADD	0x91000000	/* rd = rn, and imm12 */
#define INSN_ADD_MASK	0xffc00000
#define TABLE_APART	16		/* instructions, at most */

/* Its address is put together by an adrp and an add, not far behind. */
static unsigned long __init table_at(const struct syscall_abi *abi, unsigned long at,
				     const unsigned long *known)
{
	unsigned long page, address;
	u32 adrp, add;
	int i;

	if (!IS_ALIGNED(at, sizeof(u32)) ||
	    copy_from_kernel_nofault(&adrp, (void *)at, sizeof(adrp)) ||
	    (adrp & INSN_ADRP_MASK) != INSN_ADRP)
		return 0;
	page = (at & ~0xfffUL) +
	       (sign_extend64(((adrp >> 3) & 0x1ffffc) | ((adrp >> 29) & 3),
			      20) << 12);
	for (i = 1; i <= TABLE_APART; i++) {
		if (copy_from_kernel_nofault(&add, (void *)(at + 4 * i),
					     sizeof(add)))
			return 0;
		if ((add & INSN_ADD_MASK) != INSN_ADD ||
		    ((add >> 5) & 31) != (adrp & 31))
			continue;
		address = page + ((add >> 10) & 0xfff);
		if (is_table(abi, address, known))
			return address;
	}
	return 0;
}

#endif

unsigned long * __init table_find(const struct syscall_abi *abi)
{
	unsigned long known[TABLE_KNOWN], at, found;
	int nr;

	for (nr = 0; nr < TABLE_KNOWN; nr++) {
		known[nr] = symbol_address(abi_handler(abi, nr));
		if (!known[nr])		/* zeros are found anywhere */
			return NULL;
	}
	at = symbol_address(abi->dispatcher);
	for (; at && symbol_has(abi->dispatcher, at); at++) {
		found = table_at(abi, at, known);
		if (found)
			return (unsigned long *)found;
	}
	return NULL;
}

unsigned long *table_map(unsigned long *entry)
{
	struct page *page = pfn_to_page(PHYS_PFN(__pa_symbol(entry)));
	void *mapped = vmap(&page, 1, VM_MAP, PAGE_KERNEL);

	return mapped ? mapped + offset_in_page(entry) : NULL;
}

void table_unmap(unsigned long *mapped)
{
	vunmap((void *)((unsigned long)mapped & PAGE_MASK));
}

int table_swap(unsigned long *mapped, unsigned long was,
	       unsigned long becomes)
{
	return cmpxchg(mapped, was, becomes) == was ? 0 : -EBUSY;
}
