/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The trace events interceptor:syscall and interceptor:syscall_exit.
 *
 * The id of the thread is the event's common_pid. abi is 1 for a call by the 32-bit
 * ABI of an amd64 kernel, whose number nr then is; 0 for all others.
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM interceptor

#if !defined(INTERCEPTOR_EVENTS_H) || defined(TRACE_HEADER_MULTI_READ)
#define INTERCEPTOR_EVENTS_H

#include <linux/tracepoint.h>

#include "abi.h"
#include "exit_event.h"

TRACE_EVENT(syscall,
	    TP_PROTO(struct pt_regs *regs),
	    TP_ARGS(regs),
	    TP_STRUCT__entry(__field(unsigned int, nr)
			     __field(unsigned int, abi)
			     __array(unsigned long, args, 6)),
	    TP_fast_assign(__entry->nr = syscall_get_nr(current, regs);
			   __entry->abi = abi_current() != abis;
			   abi_arguments(regs, __entry->args);),
	    TP_printk("%x(%lx,%lx,%lx,%lx,%lx,%lx)%s", __entry->nr,
		      __entry->args[0], __entry->args[1], __entry->args[2],
		      __entry->args[3], __entry->args[4], __entry->args[5],
		      __entry->abi ? " i386" : ""));

TRACE_EVENT_FN(syscall_exit,
	       TP_PROTO(struct pt_regs *regs, long ret),
	       TP_ARGS(regs, ret),
	       TP_STRUCT__entry(__field(unsigned int, nr)
				__field(unsigned int, abi)
				__field(long, ret)),
	       TP_fast_assign(__entry->nr = syscall_get_nr(current, regs);
			      __entry->abi = abi_current() != abis;
			      __entry->ret = ret;),
	       TP_printk("%x = %lx%s", __entry->nr, __entry->ret,
			 __entry->abi ? " i386" : ""),
	       exit_event_register, exit_event_unregister);

#endif /* INTERCEPTOR_EVENTS_H */

#undef TRACE_INCLUDE_PATH
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_PATH .
#define TRACE_INCLUDE_FILE events
#include <trace/define_trace.h>
