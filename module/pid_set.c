// SPDX-License-Identifier: GPL-2.0
/* Lists of processes. Entries of those that have ended are marked, and reaped later. */
#include <linux/kernel.h>
#include <linux/slab.h>
#include <linux/user_namespace.h>

#include "lock.h"
#include "pid_set.h"

atomic_t pid_counts[PID_COUNTS];

/* How many entries each user has entries_made, but for root's, by user id, as values. */
static DEFINE_XARRAY(entries_made);

static LLIST_HEAD(dead_entries);
static struct work_struct reaping;

void pid_sets_begin(work_func_t reap)
{
	INIT_WORK(&reaping, reap);
}

void pid_sets_flush(void)
{
	flush_work(&reaping);
}

void pid_sets_end(void)
{
	xa_destroy(&entries_made);
}

void pid_set_init(struct xarray *pids)
{
	/* What a user has recorded is charged to that user's memory cgroup. */
	xa_init_flags(pids, XA_FLAGS_ACCOUNT);
}

/* Return: 0, or -ENOMEM. Where there is a count, another or none needs no memory. */
static int count_made(kuid_t user, long more)
{
	unsigned long id = from_kuid(&init_user_ns, user);
	long count = pid_sets_made_by(user) + more;

	lockdep_assert_held(&calls_lock);
	return xa_err(xa_store(&entries_made, id, count ? xa_mk_value(count) : NULL,
			       GFP_KERNEL_ACCOUNT));
}

int pid_sets_made_by(kuid_t user)
{
	void *count = xa_load(&entries_made, from_kuid(&init_user_ns, user));

	return count ? xa_to_value(count) : 0;
}

static void pid_set_free(struct entry *entry)
{
	lockdep_assert_held(&calls_lock);
	if (*entry->latest == entry)
		WRITE_ONCE(*entry->latest, NULL);
	atomic_dec(pid_count(pid_nr(entry->pid)));
	if (!entry->by_root)
		count_made(entry->maker, -1);
	put_pid(entry->pid);
	kfree_rcu(entry, rcu);
}

/* Take an entry out of its list, unless it was replaced there. */
static void pid_set_drop(struct entry *entry)
{
	lockdep_assert_held(&calls_lock);
	xa_cmpxchg(entry->pids, pid_nr(entry->pid), entry, NULL, GFP_KERNEL);
	if (!atomic_xchg(&entry->gone, 1))
		pid_set_free(entry);	/* else pid_sets_reap() does so */
}

/* Take out those that have been marked as gone. */
void pid_sets_reap(void)
{
	struct entry *entry, *next;

	lockdep_assert_held(&calls_lock);
	llist_for_each_entry_safe(entry, next, llist_del_all(&dead_entries),
				  dead) {
		pid_set_drop(entry);
		pid_set_free(entry);
	}
}

void pid_set_mark_gone(struct entry *entry)
{
	if (atomic_xchg(&entry->gone, 1))
		return;
	llist_add(&entry->dead, &dead_entries);
	schedule_work(&reaping);
}

int pid_set_add(struct xarray *pids, struct pid *pid, kuid_t maker, bool by_root,
		struct entry **latest)
{
	struct entry *entry;
	int err;

	lockdep_assert_held(&calls_lock);
	entry = pid_set_find(pids, pid_nr(pid), pid);
	if (entry) {
		if (by_root && !entry->by_root) {
			count_made(entry->maker, -1);
			WRITE_ONCE(entry->by_root, true);
		}
		return -EBUSY;
	}
	/* Of one that has gone, and whose number is born again. */
	entry = xa_load(pids, pid_nr(pid));
	if (entry)
		pid_set_drop(entry);
	entry = kzalloc(sizeof(*entry), GFP_KERNEL_ACCOUNT);
	if (!entry)
		return -ENOMEM;
	err = by_root ? 0 : count_made(maker, 1);
	if (err) {
		kfree(entry);
		return err;
	}
	entry->pid = get_pid(pid);
	entry->maker = maker;
	entry->by_root = by_root;
	entry->pids = pids;
	entry->latest = latest;
	atomic_inc(pid_count(pid_nr(pid)));
	err = xa_insert(pids, pid_nr(pid), entry, GFP_KERNEL);
	if (err)
		pid_set_free(entry);
	else
		smp_store_release(latest, entry);	/* what it has comes first */
	return err;
}

bool pid_set_remove(struct xarray *pids, struct pid *pid)
{
	struct entry *entry;

	lockdep_assert_held(&calls_lock);
	entry = pid_set_find(pids, pid_nr(pid), pid);
	if (entry)
		pid_set_drop(entry);
	return entry;
}

void pid_set_clear(struct xarray *pids)
{
	struct entry *entry;
	unsigned long nr;

	lockdep_assert_held(&calls_lock);
	xa_for_each(pids, nr, entry)
		pid_set_drop(entry);
}

struct entry *pid_set_find_current(struct xarray *pids, struct entry *const *latest)
{
	struct entry *entry = READ_ONCE(*latest);

	if (entry && entry->pids == pids && entry->pid == task_tgid(current) &&
	    !atomic_read(&entry->gone))
		return entry;
	entry = pid_set_find(pids, current->tgid, task_tgid(current));
	if (entry || thread_group_leader(current))
		return entry;
	return pid_set_find(pids, current->pid, task_pid(current));
}
