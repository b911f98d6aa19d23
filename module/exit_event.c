// SPDX-License-Identifier: GPL-2.0
/* The trace event of the result of a monitored call. */
#include <linux/mutex.h>
#include <linux/spinlock.h>
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

/*
 * Tracing may enable the event before the module's init and disable it after its
 * exit: then it is noted alone, as no work of the module may be left that nobody
 * waits for. The lock makes one step of the test and the queueing.
 */
static DEFINE_SPINLOCK(exit_lock);
static bool exit_alive, exit_wanted;
static DEFINE_MUTEX(exit_registering);

/* Tracing holds the lock of all tracepoints while it enables the event: hence a work. */
static void exit_event_apply(struct work_struct *work)
{
	bool wanted;
	int err;

	mutex_lock(&exit_registering);
	spin_lock(&exit_lock);
	wanted = exit_alive && exit_wanted;
	spin_unlock(&exit_lock);
	if (wanted && !exit_callback.point) {
		err = callback_register(&exit_callback);
		if (err)
			pr_warn("no syscall_exit events: tracepoint sys_exit: %pe\n", ERR_PTR(err));
	} else if (!wanted && exit_callback.point) {
		callback_unregister(&exit_callback);
	}
	mutex_unlock(&exit_registering);
}

static DECLARE_WORK(exit_work, exit_event_apply);

/* Change exit_alive or exit_wanted, and have that take effect while the module lives. */
static void exit_event_set(bool *which, bool value)
{
	spin_lock(&exit_lock);
	*which = value;
	if (exit_alive)
		schedule_work(&exit_work);
	spin_unlock(&exit_lock);
}

int exit_event_register(void)
{
	exit_event_set(&exit_wanted, true);
	return 0;
}

void exit_event_unregister(void)
{
	exit_event_set(&exit_wanted, false);
}

void exit_event_begin(void)
{
	exit_event_set(&exit_alive, true);
}

void exit_event_flush(void)
{
	flush_work(&exit_work);
}

void exit_event_end(void)
{
	exit_event_set(&exit_alive, false);
	cancel_work_sync(&exit_work);
	exit_event_apply(NULL);
	tracepoint_synchronize_unregister();
}
