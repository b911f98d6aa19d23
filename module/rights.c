// SPDX-License-Identifier: GPL-2.0
/* Who the caller is, and which processes belong to the caller. */
#include <linux/capability.h>
#include <linux/sched/signal.h>
#include <linux/uidgid.h>

#include "rights.h"

bool is_root(void)
{
	return uid_eq(current_euid(), GLOBAL_ROOT_UID) &&
	       capable(CAP_SYS_ADMIN);
}

bool is_owned_by(const struct cred *cred, kuid_t user)
{
	return uid_eq(user, cred->uid) && uid_eq(user, cred->euid) &&
	       uid_eq(user, cred->suid);
}

/*
 * A setgid program, or one with capabilities that the caller lacks, does not
 * belong to the caller either, as in ptrace(2). Under RCU.
 */
static bool thread_belongs_to_caller(struct task_struct *task)
{
	const struct cred *own = current_cred(), *cred = __task_cred(task);

	if (!is_owned_by(cred, own->euid) || !gid_eq(cred->gid, cred->egid) ||
	    !gid_eq(cred->gid, cred->sgid))
		return false;
	return (cred->user_ns == own->user_ns &&
		cap_issubset(cred->cap_permitted, own->cap_permitted)) ||
	       ns_capable(cred->user_ns, CAP_SYS_PTRACE);
}

bool belongs_to_caller(struct task_struct *task)
{
	struct task_struct *thread;

	if (!thread_group_leader(task))
		return thread_belongs_to_caller(task);
	for_each_thread(task, thread)
		if (!thread_belongs_to_caller(thread))
			return false;
	return true;
}
