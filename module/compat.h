/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What differs between kernels, behind one name each. Kbuild asks the kernel's
 * headers what they have: no release is compared (LINUX_VERSION_CODE), as
 * distributions take over from later ones.
 */
#ifndef INTERCEPTOR_COMPAT_H
#define INTERCEPTOR_COMPAT_H

#include <linux/ftrace.h>
#include <linux/sched.h>

/*
 * An ftrace direct call by way of an ftrace_ops: from 5.16 on by
 * register_ftrace_direct_multi() (commit f64dd4627ec6), which has had its short
 * name since 6.4 (commit da8bdfbd4223). Handlers of earlier kernels, and of
 * other architectures than x86, are hooked by kprobes.
 */
#if defined(CONFIG_X86) && defined(HAS_DIRECT_MULTI)
#define COMPAT_HAS_DIRECT 1
#define compat_register_direct register_ftrace_direct_multi
#define compat_unregister_direct unregister_ftrace_direct_multi
#define compat_free_filter ftrace_free_filter
#elif defined(CONFIG_X86) && defined(HAS_DIRECT_OPS)
#define COMPAT_HAS_DIRECT 1
#define compat_register_direct register_ftrace_direct
#define compat_free_filter ftrace_free_filter

static inline int compat_unregister_direct(struct ftrace_ops *ops, unsigned long stub)
{
	return unregister_ftrace_direct(ops, stub, false);
}
#else
#define COMPAT_HAS_DIRECT 0

static inline int compat_register_direct(struct ftrace_ops *ops, unsigned long stub)
{
	return -EOPNOTSUPP;
}

static inline int compat_unregister_direct(struct ftrace_ops *ops, unsigned long stub)
{
	return -EOPNOTSUPP;
}

/* ftrace_free_filter() is exported since 5.16 alone. */
static inline void compat_free_filter(struct ftrace_ops *ops)
{
	ftrace_set_filter(ops, NULL, 0, 1);
}
#endif

/*
 * From 6.0 on (commit 53cd885bc5c3) an ops of a direct call is asked whether it
 * bears somebody's redirection of the same function (a live patch, a kprobe
 * with a post handler); who has no answer is refused, or keeps those away. The
 * function of 7.3 has the address as well.
 */
#if COMPAT_HAS_DIRECT && defined(HAS_OPS_FUNC)
#ifdef HAS_OPS_FUNC_IP
static __maybe_unused int compat_bears(struct ftrace_ops *ops, unsigned long ip,
				       enum ftrace_ops_cmd cmd)
#else
static __maybe_unused int compat_bears(struct ftrace_ops *ops, enum ftrace_ops_cmd cmd)
#endif
{
	return 0;
}

static inline void compat_bear_redirection(struct ftrace_ops *ops)
{
	ops->ops_func = compat_bears;
}
#else
static inline void compat_bear_redirection(struct ftrace_ops *ops)
{
}
#endif

/*
 * What a callback of ftrace gets: registers up to 5.10, since then a structure
 * of its own that has them (commit d19ad0775dcd).
 */
#ifdef HAS_FTRACE_REGS
#define compat_ftrace_regs ftrace_regs
#define compat_pt_regs ftrace_get_regs
#else
#define compat_ftrace_regs pt_regs
#define compat_pt_regs(regs) (regs)
#endif

/*
 * The tracepoint sched_process_exit also tells, from 6.16 on, whether the
 * whole process ends (commit 3e816361e94a).
 */
#ifdef HAS_GROUP_DEAD
#define COMPAT_ON_EXIT(name) name(void *data, struct task_struct *task, bool dead)
#else
#define COMPAT_ON_EXIT(name) name(void *data, struct task_struct *task)
#endif

/*
 * Does the kernel check what type a function has that it calls by a pointer, such
 * as one of a table? CONFIG_CFI_CLANG is CONFIG_CFI from 6.18 on (commit
 * 23ef9d439769).
 */
#define COMPAT_CFI	(IS_ENABLED(CONFIG_CFI_CLANG) || IS_ENABLED(CONFIG_CFI))

#endif /* INTERCEPTOR_COMPAT_H */
