/* SPDX-License-Identifier: GPL-2.0 */
#ifndef INTERCEPTOR_TABLE_H
#define INTERCEPTOR_TABLE_H

#include <linux/init.h>

#include "abi.h"

/**
 * table_find() - The table through which the kernel dispatches system calls.
 * @abi: whose calls.
 *
 * Return: the table, or NULL if the calls of that ABI go through none.
 */
unsigned long * __init table_find(const struct syscall_abi *abi);

/**
 * table_map() - Map an entry of the table, which is read-only, so that it can be written.
 * @entry: of the table.
 *
 * Return: the entry in the other mapping, until table_unmap(), or NULL if there
 * is no memory.
 */
unsigned long *table_map(unsigned long *entry);

/* Undo table_map(). */
void table_unmap(unsigned long *mapped);

/**
 * table_swap() - Compare and swap a mapped entry.
 * @mapped: by table_map().
 * @was: its value so far.
 * @becomes: its value from now on.
 *
 * Return: 0, or -EBUSY if it has another value by now.
 */
int table_swap(unsigned long *mapped, unsigned long was, unsigned long becomes);

#endif /* INTERCEPTOR_TABLE_H */
