/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The state of each system call. It is written under calls_lock; hooks read
 * call_watched, everybody and pids without it: see set_everybody().
 */
#ifndef INTERCEPTOR_CALLS_H
#define INTERCEPTOR_CALLS_H

#include <linux/xarray.h>

#include "abi.h"
#include "hook.h"

struct call {
	struct hook *hooks[ABIS];	/* all NULL: not intercepted */
	bool leaving;			/* to be unhooked: see unhook_later() */
	bool everybody;
	struct entry *latest;		/* of either list: see pid_set_add() */
	struct xarray pids[2];		/* [everybody] is the one that counts */
} __aligned(8 * sizeof(long));		/* a power of two is found by a shift */

/* By the number that abi_call() returns. */
extern struct call calls[ABI_CALLS];

/*
 * Who may be monitored, for each call: the stub of a call looks no further than
 * at its own byte. Apart from calls[], so that the bytes share no cache line with
 * what commands and dying processes write.
 */
enum { WATCHED_NOBODY, WATCHED_LISTED, WATCHED_EVERYBODY };
extern u8 call_watched[ABI_CALLS];

/* Is the current process monitored for this call? */
bool call_is_monitored(int call);

#endif /* INTERCEPTOR_CALLS_H */
