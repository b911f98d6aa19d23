/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Makes memory run short: of what follows this header in a module, the n-th
 * request for memory fails, where the parameter fail_at is n. It counts down to
 * 0, so that a rest tells that there were fewer.
 */
#include <linux/ftrace.h>
#include <linux/kprobes.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/proc_fs.h>
#include <linux/slab.h>
#include <linux/srcu.h>
#include <linux/tracepoint.h>
#include <linux/vmalloc.h>
#include <linux/xarray.h>

static int fail_at;
module_param(fail_at, int, 0600);

static bool fails(void)
{
	return fail_at > 0 && !--fail_at;
}

/* Some of these are macros: each is called by a function before it is renamed. */
#define FAILING(type, name, failed, takes, ...)				\
	static __maybe_unused type may_fail_##name takes		\
	{								\
		return fails() ? failed : name(__VA_ARGS__);		\
	}

FAILING(void *, kzalloc, NULL, (size_t size, gfp_t gfp), size, gfp)
FAILING(void *, kcalloc, NULL, (size_t n, size_t size, gfp_t gfp), n, size, gfp)
FAILING(void *, vmalloc_user, NULL, (unsigned long size), size)
FAILING(int, misc_register, -ENOMEM, (struct miscdevice *device), device)
FAILING(void *, vmap, NULL, (struct page **pages, unsigned int n, unsigned long flags,
			     pgprot_t prot), pages, n, flags, prot)
FAILING(int, xa_insert, -ENOMEM, (struct xarray *xa, unsigned long index, void *entry,
				  gfp_t gfp), xa, index, entry, gfp)
FAILING(int, init_srcu_struct, -ENOMEM, (struct srcu_struct *srcu), srcu)
FAILING(struct proc_dir_entry *, proc_create_seq, NULL,
	(const char *name, umode_t mode, struct proc_dir_entry *parent,
	 const struct seq_operations *ops), name, mode, parent, ops)
FAILING(int, tracepoint_probe_register, -ENOMEM,
	(struct tracepoint *point, void *probe, void *data), point, probe, data)
#ifdef CONFIG_FTRACE
FAILING(int, register_ftrace_function, -ENOMEM, (struct ftrace_ops *ops), ops)

/* One that has no function, at the module's own, asks whether ftrace works. */
static __maybe_unused int may_fail_ftrace_set_filter_ip(struct ftrace_ops *ops,
							unsigned long ip,
							int remove, int reset)
{
	bool asks = !ops->func && within_module(ip, THIS_MODULE);

	if (!asks && fails())
		return -ENOMEM;
	return ftrace_set_filter_ip(ops, ip, remove, reset);
}
#endif
#if defined(HAS_DIRECT_MULTI)
FAILING(int, register_ftrace_direct_multi, -ENOMEM,
	(struct ftrace_ops *ops, unsigned long address), ops, address)
#elif defined(HAS_DIRECT_OPS)
FAILING(int, register_ftrace_direct, -ENOMEM,
	(struct ftrace_ops *ops, unsigned long address), ops, address)
#endif

/* One that is disabled looks a symbol up, which needs no memory. */
static __maybe_unused int may_fail_register_kprobe(struct kprobe *probe)
{
	if (!(probe->flags & KPROBE_FLAG_DISABLED) && fails())
		return -ENOMEM;
	return register_kprobe(probe);
}

/* An entry that is there is replaced without memory. */
static __maybe_unused void *may_fail_xa_store(struct xarray *xa, unsigned long index,
					      void *entry, gfp_t gfp)
{
	if (!xa_load(xa, index) && fails())
		return XA_ERROR(-ENOMEM);
	return xa_store(xa, index, entry, gfp);
}

#undef kzalloc
#define kzalloc may_fail_kzalloc
#undef kcalloc
#define kcalloc may_fail_kcalloc
#undef vmalloc_user
#define vmalloc_user may_fail_vmalloc_user
#define misc_register may_fail_misc_register
#define vmap may_fail_vmap
#define xa_insert may_fail_xa_insert
#define xa_store may_fail_xa_store
#undef init_srcu_struct
#define init_srcu_struct may_fail_init_srcu_struct
#undef proc_create_seq
#define proc_create_seq may_fail_proc_create_seq
#define tracepoint_probe_register may_fail_tracepoint_probe_register
#define register_kprobe may_fail_register_kprobe
#define register_ftrace_function may_fail_register_ftrace_function
#define ftrace_set_filter_ip may_fail_ftrace_set_filter_ip
#define register_ftrace_direct_multi may_fail_register_ftrace_direct_multi
#define register_ftrace_direct may_fail_register_ftrace_direct
