/* SPDX-License-Identifier: GPL-2.0 */
#ifndef INTERCEPTOR_SYMBOLS_H
#define INTERCEPTOR_SYMBOLS_H

#include <linux/types.h>

/**
 * symbol_has() - Is an address inside of a kernel function?
 * @name: of the function.
 * @address: anywhere.
 */
bool symbol_has(const char *name, unsigned long address);

/**
 * symbol_code() - Where the code of a kernel function is hooked.
 * @name: of the function.
 *
 * On amd64 that is behind the endbr64, or what that has been sealed to (commit
 * cc66bb914578 in 5.18). Looking it up costs a grace period.
 *
 * Return: the address, or 0 if there is no function of that name.
 */
unsigned long symbol_code(const char *name);

/**
 * symbol_address() - The address of a kernel function.
 * @name: of the function.
 *
 * Return: the address, or 0 if there is no function of that name.
 */
unsigned long symbol_address(const char *name);

#endif /* INTERCEPTOR_SYMBOLS_H */
