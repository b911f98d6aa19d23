/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The state of each system call. It is written under calls_lock; hooks read
 * watched, everybody and pids without it: see set_everybody().
 */
#ifndef INTERCEPTOR_CALLS_H
#define INTERCEPTOR_CALLS_H

#include <linux/xarray.h>

#include "abi.h"
#include "hook.h"

struct call {
	struct hook *hooks[ABIS];	/* all NULL: not intercepted */
	bool leaving;			/* to be unhooked: see unhook_later() */
	bool watched;			/* some process may be monitored */
	bool everybody;
	struct xarray pids[2];		/* [everybody] is the one that counts */
} __aligned(8 * sizeof(long));		/* a power of two is found by a shift */

/* By the number that abi_call() returns. */
extern struct call calls[ABI_CALLS];

#endif /* INTERCEPTOR_CALLS_H */
