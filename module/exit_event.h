/* SPDX-License-Identifier: GPL-2.0 */
#ifndef INTERCEPTOR_EXIT_EVENT_H
#define INTERCEPTOR_EXIT_EVENT_H

/*
 * The trace event interceptor:syscall_exit, the result of a monitored call.
 *
 * A frame of this module on the stack of a task that is inside a system call would
 * keep the module from being unloaded. So the result is taken from the kernel's
 * tracepoint sys_exit, which makes each system call of each process slower: only
 * while the event is enabled.
 */

/* What tracing calls when the event is enabled, and disabled: see TRACE_EVENT_FN(). */
int exit_event_register(void);
void exit_event_unregister(void);

/* From now on, the event can be enabled; if it is already, it takes effect. */
void exit_event_begin(void);

/* Wait until what was asked for last is done. */
void exit_event_flush(void);

/* Give up the tracepoint, for good; nothing happens before exit_event_begin(). */
void exit_event_end(void);

#endif /* INTERCEPTOR_EXIT_EVENT_H */
