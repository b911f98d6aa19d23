// SPDX-License-Identifier: GPL-2.0
/* The status file: a line for each intercepted call. */
#include <linux/module.h>
#include <linux/pid.h>
#include <linux/proc_fs.h>
#include <linux/seq_file.h>

#include "calls.h"
#include "exit_event.h"
#include "lock.h"
#include "pid_set.h"
#include "status.h"

static void *status_start(struct seq_file *file, loff_t *pos)
{
	pid_sets_flush();
	exit_event_flush();
	mutex_lock(&calls_lock);
	return *pos < ABI_CALLS ? &calls[*pos] : NULL;
}

static void *status_next(struct seq_file *file, void *call, loff_t *pos)
{
	return ++*pos < ABI_CALLS ? &calls[*pos] : NULL;
}

static void status_stop(struct seq_file *file, void *call)
{
	mutex_unlock(&calls_lock);
}

static const char *status_mode(struct call *call)
{
	if (!call->everybody)
		return "listed";
	return xa_empty(&call->pids[true]) ? "everybody" : "everybody-except";
}

/*
 * "39 listed 1207 1311": the number, the mode, the pids that the reader sees.
 * A call that only the 32-bit ABI has is "i386:192", by its number there. "off"
 * at the end: somebody has switched off what the call is intercepted by.
 */
static int status_show(struct seq_file *file, void *data)
{
	struct call *call = data;
	struct xarray *pids = &call->pids[call->everybody];
	struct entry *entry;
	unsigned long nr;
	pid_t seen;

	if (!hooks_any(call->hooks))
		return 0;
	if (call - calls < NR_syscalls)
		seq_printf(file, "%td", call - calls);
	else
		seq_printf(file, "i386:%td", call - calls - NR_syscalls);
	seq_printf(file, " %s", status_mode(call));
	xa_for_each(pids, nr, entry) {
		seen = pid_vnr(entry->pid);
		if (seen && !atomic_read(&entry->gone))
			seq_printf(file, " %d", seen);
	}
	seq_puts(file, hooks_are_live(call->hooks) ? "\n" : " off\n");
	return 0;
}

static const struct seq_operations status_ops = {
	.start = status_start,
	.next = status_next,
	.stop = status_stop,
	.show = status_show,
};

static struct proc_dir_entry *status;

int __init status_create(void)
{
	status = proc_create_seq(KBUILD_MODNAME, 0400, NULL, &status_ops);
	return status ? 0 : -ENOMEM;
}

void status_remove(void)
{
	if (status)
		proc_remove(status);
}
