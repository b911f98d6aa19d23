/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Lists of processes: XArrays of struct pid, indexed by pid number.
 *
 * An entry is a struct pid with a reference held, never just a number, so that
 * a number born again is not mistaken for the one that died. Who takes an entry
 * out of its list, under the list's own lock, drops the reference. Looking an
 * entry up takes no lock: the pointer that is found is compared, never followed.
 */
#ifndef INTERCEPTOR_ENTRIES_H
#define INTERCEPTOR_ENTRIES_H

#include <linux/atomic.h>
#include <linux/pid.h>
#include <linux/sched.h>
#include <linux/threads.h>
#include <linux/xarray.h>

/*
 * How many entries there are, in all lists, of the pids that share a slot. At
 * 0 neither a call nor the end of a process looks any further. It is exact up
 * to the usual pid_max.
 */
#define SLOTS PID_MAX_DEFAULT
static atomic_t entries[SLOTS];

static atomic_t *slot(pid_t nr)
{
	return &entries[(unsigned int)nr % SLOTS];
}

static void entries_init(struct xarray *pids)
{
	/* Processes are freed in a softirq: see entry_forget(). */
	xa_init_flags(pids, XA_FLAGS_LOCK_BH);
}

static void entry_dropped(struct pid *pid)
{
	atomic_dec(slot(pid_nr(pid)));
	put_pid(pid);
}

static int entry_add(struct xarray *pids, struct pid *pid)
{
	int err;

	atomic_inc(slot(pid_nr(get_pid(pid))));
	err = xa_insert_bh(pids, pid_nr(pid), pid, GFP_KERNEL);
	if (err)
		entry_dropped(pid);
	return err;
}

static bool entry_remove(struct xarray *pids, struct pid *pid)
{
	if (xa_cmpxchg_bh(pids, pid_nr(pid), pid, NULL, GFP_KERNEL) != pid)
		return false;
	entry_dropped(pid);
	return true;
}

static void entries_clear(struct xarray *pids)
{
	unsigned long nr;
	struct pid *pid;

	xa_for_each(pids, nr, pid) {
		pid = xa_erase_bh(pids, nr);
		if (pid)
			entry_dropped(pid);
	}
}

/* Drop the entry of @pid, and one of its number that no task bears any more. */
static void entry_forget(struct xarray *pids, pid_t nr, const struct pid *pid)
{
	struct pid *found;

	if (!xa_load(pids, nr))
		return;
	xa_lock_bh(pids);
	found = xa_load(pids, nr);
	if (found && (found == pid || !pid_has_task(found, PIDTYPE_PID)))
		__xa_erase(pids, nr);
	else
		found = NULL;
	xa_unlock_bh(pids);
	if (found)
		entry_dropped(found);
}

/* @nr and @pid are of the current task, which lives: they stay what they are. */
static bool has_entry(struct xarray *pids, pid_t nr, const struct pid *pid)
{
	return atomic_read(slot(nr)) && xa_load(pids, nr) == pid;
}

#endif /* INTERCEPTOR_ENTRIES_H */
