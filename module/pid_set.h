/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Sets of processes: XArrays of entries, indexed by pid number.
 *
 * An entry holds a struct pid with a reference, never just a number, so that a
 * number born again is not mistaken for the one that died.
 *
 * calls_lock protects the sets. Hooks look an entry up under RCU. Where a
 * process ends, the kernel may hold any lock, and on PREEMPT_RT a spinlock must
 * not be waited for there: so the entry is only marked as gone, without a lock,
 * and put on a list of those that pid_sets_reap() takes out later. An entry that
 * is gone counts as none.
 */
#ifndef INTERCEPTOR_PID_SET_H
#define INTERCEPTOR_PID_SET_H

#include <linux/atomic.h>
#include <linux/llist.h>
#include <linux/pid.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <linux/threads.h>
#include <linux/uidgid.h>
#include <linux/workqueue.h>
#include <linux/xarray.h>

struct entry {
	struct pid *pid;
	kuid_t maker;			/* the user who started or stopped it, */
	bool by_root;			/* or root, whose entries don't count */
	atomic_t gone;			/* whoever sets it to 1 has it freed */
	struct xarray *pids;		/* the list that it is in */
	struct entry **latest;		/* see pid_set_add() */
	union {
		struct llist_node dead;
		struct rcu_head rcu;
	};
};

/*
 * How many entries there are, in all sets, of the pids that share a count. At 0
 * neither a call nor the end of a process looks any further. It is exact up to
 * the usual pid_max.
 */
#define PID_COUNTS PID_MAX_DEFAULT
extern atomic_t pid_counts[PID_COUNTS];

static inline atomic_t *pid_count(pid_t nr)
{
	return &pid_counts[(unsigned int)nr % PID_COUNTS];
}

/* False for most, without a look at any list. */
static __always_inline bool pid_set_may_have_current(void)
{
	return atomic_read(pid_count(current->tgid)) ||
	       (!thread_group_leader(current) &&
		atomic_read(pid_count(current->pid)));
}

/* The entry of a process. Under RCU, or calls_lock. */
static inline struct entry *pid_set_find(struct xarray *pids, pid_t nr,
					 const struct pid *pid)
{
	struct entry *entry = xa_load(pids, nr);

	return entry && entry->pid == pid && !atomic_read(&entry->gone) ?
	       entry : NULL;
}

/**
 * pid_set_find_current() - The entry of the current process, or of this thread of it alone.
 * @pids: the set.
 * @latest: see pid_set_add().
 *
 * Under RCU. Its numbers and its struct pids stay what they are while it lives.
 *
 * Return: the entry, or NULL if there is none.
 */
struct entry *pid_set_find_current(struct xarray *pids, struct entry *const *latest);

/**
 * pid_set_add() - Add an entry of a process.
 * @pids: the set.
 * @pid: the process.
 * @maker: the user whose entry it is, for pid_sets_made_by().
 * @by_root: root made it, whose entries aren't counted. An entry of a user's
 *	becomes root's if root adds the process as well.
 * @latest: gets the entry, and NULL once that is removed. Several sets may share
 *	it. It is looked at first: where one process is monitored, no set is searched.
 *
 * Return: 0, -EBUSY if there is one of this process, or -ENOMEM.
 */
int pid_set_add(struct xarray *pids, struct pid *pid, kuid_t maker, bool by_root,
		struct entry **latest);

/**
 * pid_set_remove() - Remove the entry of a process.
 * @pids: the set.
 * @pid: the process.
 *
 * Return: whether there was one.
 */
bool pid_set_remove(struct xarray *pids, struct pid *pid);

/* Remove all entries of a set. calls_lock is held. */
void pid_set_clear(struct xarray *pids);

/* Make an empty set. */
void pid_set_init(struct xarray *pids);

/**
 * pid_set_mark_gone() - Have an entry count as none from now on.
 * @entry: the entry.
 *
 * Needs no lock, and may be called with any held; under RCU, so that the entry
 * stays until it is on the list of those to be reaped.
 */
void pid_set_mark_gone(struct entry *entry);

/* How many entries that user has made, in all sets. */
int pid_sets_made_by(kuid_t user);

/**
 * pid_sets_begin() - Prepare all sets.
 * @reap: has to call pid_sets_reap(), with calls_lock held; queued as work when
 *	an entry has been marked as gone.
 */
void pid_sets_begin(work_func_t reap);

/* Remove the entries that have been marked as gone. calls_lock is held. */
void pid_sets_reap(void);

/* Wait until those that were marked as gone by now are reaped. */
void pid_sets_flush(void);

/* All sets are empty, and nothing marks an entry any more. */
void pid_sets_end(void);

#endif /* INTERCEPTOR_PID_SET_H */
