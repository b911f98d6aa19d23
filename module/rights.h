/* SPDX-License-Identifier: GPL-2.0 */
#ifndef INTERCEPTOR_RIGHTS_H
#define INTERCEPTOR_RIGHTS_H

#include <linux/cred.h>
#include <linux/sched.h>

/**
 * is_root() - Is the current task root of the whole system?
 *
 * Root inside a user namespace is not: it is another user outside of it. Nor is
 * root without rights, as in a container: CAP_SYS_ADMIN is required as well.
 *
 * Return: whether it is.
 */
bool is_root(void);

/**
 * is_owned_by() - Does a user own these credentials?
 * @cred: of a process.
 * @user: the user.
 *
 * The process of a setuid program is nobody's: real, effective and saved user
 * must be the same.
 *
 * Return: whether the user does.
 */
bool is_owned_by(const struct cred *cred, kuid_t user);

/**
 * belongs_to_caller() - Does a process belong to the current task?
 * @task: its leader, which stands for all its threads, or one of its other
 *	threads, which stands for itself alone.
 *
 * Under RCU.
 *
 * Return: whether it does.
 */
bool belongs_to_caller(struct task_struct *task);

#endif /* INTERCEPTOR_RIGHTS_H */
