// SPDX-License-Identifier: GPL-2.0
/* The trace event of the result of a monitored call. */
#include <linux/mutex.h>
#include <linux/tracepoint.h>
#include <linux/workqueue.h>

#include "calls.h"
#include "events.h"
#include "exit_event.h"
#include "tracepoints.h"

static void on_sys_exit(void *data, struct pt_regs *regs, long ret)
{
	int call = abi_issued(regs);

	if (call >= 0 && call_is_monitored(call))
		trace_syscall_exit(regs, ret);
}

static struct tracepoint_callback exit_callback = {
	.name = "sys_exit", .function = on_sys_exit,
};

static DEFINE_MUTEX(exit_lock);
static bool exit_wanted, exit_ended;

/* Tracing holds the lock of all tracepoints while it enables the event. */
static void exit_event_apply(struct work_struct *work)
{
	bool wanted;

	mutex_lock(&exit_lock);
	wanted = READ_ONCE(exit_wanted) && !READ_ONCE(exit_ended);
	if (wanted && !exit_callback.point) {
		if (callback_register(&exit_callback))
			pr_warn("no syscall_exit events: the kernel has no tracepoint sys_exit\n");
	} else if (!wanted && exit_callback.point) {
		callback_unregister(&exit_callback);
	}
	mutex_unlock(&exit_lock);
}

static DECLARE_WORK(exit_work, exit_event_apply);

/* The module's code may be about to go: tracing disables its events after that. */
static void exit_event_want(bool wanted)
{
	WRITE_ONCE(exit_wanted, wanted);
	if (!READ_ONCE(exit_ended))
		schedule_work(&exit_work);
}

int exit_event_register(void)
{
	exit_event_want(true);
	return 0;
}

void exit_event_unregister(void)
{
	exit_event_want(false);
}

void exit_event_flush(void)
{
	flush_work(&exit_work);
}

void exit_event_end(void)
{
	mutex_lock(&exit_lock);
	WRITE_ONCE(exit_ended, true);
	mutex_unlock(&exit_lock);
	exit_event_apply(NULL);
	cancel_work_sync(&exit_work);
	tracepoint_synchronize_unregister();
}
