/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The one lock of this module. Held by each command, by whoever reads the
 * status file, by load and unload; it protects what is intercepted, who is
 * monitored, and all hooks. No hook takes it: those look at lists that may be
 * read under RCU.
 */
#ifndef INTERCEPTOR_LOCK_H
#define INTERCEPTOR_LOCK_H

#include <linux/lockdep.h>
#include <linux/mutex.h>

extern struct mutex calls_lock;

#endif /* INTERCEPTOR_LOCK_H */
