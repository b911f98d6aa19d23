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
 * The same holds for a setgid program, and for one with capabilities: the rules
 * are those of ptrace(2). Call it under RCU.
 */
static bool is_callers_thread(struct task_struct *task)
{
	const struct cred *own = current_cred(), *cred = __task_cred(task);

	if (!is_owned_by(cred, own->euid) || !gid_eq(cred->gid, cred->egid) ||
	    !gid_eq(cred->gid, cred->sgid))
		return false;
	return (cred->user_ns == own->user_ns &&
		cap_issubset(cred->cap_permitted, own->cap_permitted)) ||
	       ns_capable(cred->user_ns, CAP_SYS_PTRACE);
}

bool is_callers(struct task_struct *task)
{
	struct task_struct *thread;

	if (!thread_group_leader(task))
		return is_callers_thread(task);
	for_each_thread(task, thread)
		if (!is_callers_thread(thread))
			return false;
	return true;
}
