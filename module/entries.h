/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Lists of processes: XArrays of entries, indexed by pid number.
 *
 * An entry holds a struct pid with a reference, never just a number, so that a
 * number born again is not mistaken for the one that died.
 *
 * calls_lock protects the lists. Hooks look an entry up under RCU. Where a
 * process ends, the kernel may hold any lock, and on PREEMPT_RT a spinlock must
 * not be waited for there: so the entry is only marked as gone, without a lock,
 * and put on a list of those that entries_bury() takes out later. An entry that
 * is gone counts as none.
 */
#ifndef INTERCEPTOR_ENTRIES_H
#define INTERCEPTOR_ENTRIES_H

#include <linux/atomic.h>
#include <linux/llist.h>
#include <linux/pid.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/threads.h>
#include <linux/uidgid.h>
#include <linux/user_namespace.h>
#include <linux/workqueue.h>
#include <linux/xarray.h>

#include "lock.h"

struct entry {
	struct pid *pid;
	kuid_t maker;			/* the user who started or stopped it, */
	bool by_root;			/* or root, whose entries don't count */
	atomic_t gone;			/* whoever sets it to 1 has it freed */
	struct xarray *pids;		/* the list that it is in */
	union {
		struct llist_node dead;
		struct rcu_head rcu;
	};
};

/*
 * How many entries there are, in all lists, of the pids that share a slot. At
 * 0 neither a call nor the end of a process looks any further. It is exact up
 * to the usual pid_max.
 */
#define SLOTS PID_MAX_DEFAULT
static atomic_t entries[SLOTS];

/* How many entries each user has made, but for root's, by user id, as values. */
static DEFINE_XARRAY(entries_made);

static LLIST_HEAD(entries_dead);

/* Calls entries_bury(). */
static void bury(struct work_struct *work);
static DECLARE_WORK(entries_burial, bury);

static atomic_t *slot(pid_t nr)
{
	return &entries[(unsigned int)nr % SLOTS];
}

static void entries_init(struct xarray *pids)
{
	/* What a user has recorded is charged to that user's memory cgroup. */
	xa_init_flags(pids, XA_FLAGS_ACCOUNT);
}

/* How many entries that user has, with @more of them from now on. */
static int entries_of(kuid_t user, long more)
{
	unsigned long id = from_kuid(&init_user_ns, user);
	void *count = xa_load(&entries_made, id);
	long made = count ? xa_to_value(count) : 0;

	if (!more)
		return made;
	made += more;
	/* A count that is there needs no memory to become another or none. */
	return xa_err(xa_store(&entries_made, id, made ? xa_mk_value(made) : NULL,
			       GFP_KERNEL_ACCOUNT)) ?: made;
}

static void entry_free(struct entry *entry)
{
	atomic_dec(slot(pid_nr(entry->pid)));
	if (!entry->by_root)
		entries_of(entry->maker, -1);
	put_pid(entry->pid);
	kfree_rcu(entry, rcu);
}

/* Take an entry out of its list, unless it was replaced there. */
static void entry_drop(struct entry *entry)
{
	lockdep_assert_held(&calls_lock);
	xa_cmpxchg(entry->pids, pid_nr(entry->pid), entry, NULL, GFP_KERNEL);
	if (!atomic_xchg(&entry->gone, 1))
		entry_free(entry);	/* else entries_bury() does so */
}

/* Take out those that have been marked as gone. */
static void entries_bury(void)
{
	struct entry *entry, *next;

	lockdep_assert_held(&calls_lock);
	llist_for_each_entry_safe(entry, next, llist_del_all(&entries_dead),
				  dead) {
		entry_drop(entry);
		entry_free(entry);
	}
}

/*
 * From here on the entry counts as none. Needs no lock, and may be called with
 * any held; under RCU, so that the entry stays until it is on the list.
 */
static void entry_mark_gone(struct entry *entry)
{
	if (atomic_xchg(&entry->gone, 1))
		return;
	llist_add(&entry->dead, &entries_dead);
	schedule_work(&entries_burial);
}

/* The entry of a process. Under RCU, or calls_lock. */
static struct entry *entry_find(struct xarray *pids, pid_t nr,
				const struct pid *pid)
{
	struct entry *entry = xa_load(pids, nr);

	return entry && entry->pid == pid && !atomic_read(&entry->gone) ?
	       entry : NULL;
}

/*
 * An entry that root asks for as well is root's from then on.
 *
 * Return: 0, -EBUSY if there is one of this process, or -ENOMEM.
 */
static int entry_add(struct xarray *pids, struct pid *pid, kuid_t maker,
		     bool by_root)
{
	struct entry *entry;
	int err;

	lockdep_assert_held(&calls_lock);
	entry = entry_find(pids, pid_nr(pid), pid);
	if (entry) {
		if (by_root && !entry->by_root) {
			entries_of(entry->maker, -1);
			WRITE_ONCE(entry->by_root, true);
		}
		return -EBUSY;
	}
	/* Of one that has gone, and whose number is born again. */
	entry = xa_load(pids, pid_nr(pid));
	if (entry)
		entry_drop(entry);
	entry = kzalloc(sizeof(*entry), GFP_KERNEL_ACCOUNT);
	if (!entry)
		return -ENOMEM;
	err = by_root ? 0 : entries_of(maker, 1);
	if (err < 0) {
		kfree(entry);
		return err;
	}
	entry->pid = get_pid(pid);
	entry->maker = maker;
	entry->by_root = by_root;
	entry->pids = pids;
	atomic_inc(slot(pid_nr(pid)));
	err = xa_insert(pids, pid_nr(pid), entry, GFP_KERNEL);
	if (err)
		entry_free(entry);
	return err;
}

static bool entry_remove(struct xarray *pids, struct pid *pid)
{
	struct entry *entry;

	lockdep_assert_held(&calls_lock);
	entry = entry_find(pids, pid_nr(pid), pid);
	if (entry)
		entry_drop(entry);
	return entry;
}

static void entries_clear(struct xarray *pids)
{
	struct entry *entry;
	unsigned long nr;

	lockdep_assert_held(&calls_lock);
	xa_for_each(pids, nr, entry)
		entry_drop(entry);
}

/* False for most, without a look at any list. */
static __always_inline bool current_may_have_entry(void)
{
	return atomic_read(slot(current->tgid)) ||
	       (!thread_group_leader(current) &&
		atomic_read(slot(current->pid)));
}

/*
 * The entry of the current process, or of this thread of it alone, NULL if
 * there is none. Under RCU. Its numbers and its struct pids stay what they are
 * while it lives.
 */
static struct entry *entry_of_current(struct xarray *pids)
{
	struct entry *entry;

	entry = entry_find(pids, current->tgid, task_tgid(current));
	if (entry || thread_group_leader(current))
		return entry;
	return entry_find(pids, current->pid, task_pid(current));
}

#endif /* INTERCEPTOR_ENTRIES_H */
