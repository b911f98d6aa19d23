// SPDX-License-Identifier: GPL-2.0
/*
 * Somebody else who replaces an entry of the system call table, in front of
 * whoever did before, with means of the interceptor's own: the folder that this
 * is built in has its source files.
 */
#include <linux/module.h>
#include <linux/rcupdate.h>

#include "abi.h"
#include "stubs.h"
#include "table.h"

static unsigned int nr;
module_param(nr, uint, 0444);

static bool rude;
module_param(rude, bool, 0644);
MODULE_PARM_DESC(rude, "put back what was found, whatever is there by now");

static unsigned long *entry, original;	/* mapped, to be written to */

static __used unsigned long foreign_next(struct pt_regs *regs)
{
	return original;
}

STUB_TAIL(foreign_entry, foreign_next);

static int __init foreign_init(void)
{
	abis[0].table = table_find(&abis[0]);
	if (!abis[0].table)
		return -ENODEV;
	entry = table_map(&abis[0].table[nr]);
	if (!entry)
		return -ENOMEM;
	original = READ_ONCE(*entry);
	return table_swap(entry, original, (unsigned long)foreign_entry);
}

static void __exit foreign_exit(void)
{
	if (rude)
		WRITE_ONCE(*entry, original);
	else
		WARN_ON(table_swap(entry, (unsigned long)foreign_entry, original));
	table_unmap(entry);
	synchronize_rcu_tasks();
}

module_init(foreign_init);
module_exit(foreign_exit);

#include "abi.c"
#include "symbols.c"
#include "table.c"

MODULE_DESCRIPTION("Replaces a system call, to the same effect");
MODULE_LICENSE("GPL");
