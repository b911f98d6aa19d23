// SPDX-License-Identifier: GPL-2.0
/*
 * Intercepts system calls and logs those of monitored processes: a starting point.
 *
 * README.md has the rules. What is complete here: finding the kernel's table of
 * system calls, writing an entry of it, and the lists of pids. What is yours to
 * write is marked TODO, and is best written in the order of the file. Until then
 * the module can be loaded, finds the table, and changes nothing.
 *
 * It is written for Linux 5.10 on i386. "__maybe_unused" keeps the compiler from
 * warning about what is not called yet; remove it from what you use.
 *
 * Locks:
 *
 *	calltable_lock	protects call_table, the protection of its page, and
 *			"original" and "intercepted" of each struct call.
 *	pidlist_lock	protects "monitored" and "pids" of each struct call.
 *
 * Whoever takes both takes calltable_lock first: in two orders, two CPUs could wait
 * for each other forever. While you hold one, do not sleep, do not call what may
 * sleep (kmalloc() with GFP_KERNEL, for example), and do not return without
 * unlocking it.
 */
#include <linux/cred.h>
#include <linux/kernel.h>
#include <linux/kprobes.h>
#include <linux/list.h>
#include <linux/module.h>
#include <linux/pgtable.h>
#include <linux/pid.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/smp.h>
#include <linux/spinlock.h>
#include <linux/uaccess.h>
#include <linux/uidgid.h>
#include <asm/ptrace.h>
#include <asm/syscall.h>
#include <asm/unistd.h>

#include "interceptor.h"

#ifndef CONFIG_X86_32
#error "this module is written for i386"
#endif

MODULE_DESCRIPTION("Intercepts system calls and logs those of monitored processes");
MODULE_LICENSE("GPL");

/* Who is monitored for a call. */
enum monitored {
	MONITOR_NONE,		/* nobody; the list is empty */
	MONITOR_LISTED,		/* the processes in the list */
	MONITOR_ALL,		/* everybody (for the bonus: except those in the list) */
};

struct pid_entry {
	pid_t pid;
	struct list_head list;
};

/*
 * What the module knows about one system call. sys_call_ptr_t is the type of the
 * functions in the kernel's table:
 *
 *	long handler(const struct pt_regs *regs);
 *
 * The handler finds the call's number in regs->orig_ax, and its six arguments in
 * regs->bx, cx, dx, si, di and bp. What it returns is the result of the call.
 */
struct call {
	sys_call_ptr_t original;	/* what the table had before you replaced it */
	bool intercepted;
	enum monitored monitored;
	struct list_head pids;		/* of struct pid_entry */
};

static struct call calls[NR_syscalls];	/* by the call's number */
static __maybe_unused DEFINE_SPINLOCK(calltable_lock);
static __maybe_unused DEFINE_SPINLOCK(pidlist_lock);

static sys_call_ptr_t *call_table;	/* the kernel's sys_call_table */
static sys_call_ptr_t original_custom __maybe_unused;
static sys_call_ptr_t original_exit_group;

/* ---- Complete: where the kernel's table is ---- */

struct known_handler {
	int nr;
	const char *name;
};

/* Some entries that the table must have. */
static const struct known_handler known[] __initconst = {
	{ __NR_read, "__ia32_sys_read" },
	{ __NR_write, "__ia32_sys_write" },
	{ __NR_open, "__ia32_sys_open" },
	{ __NR_close, "__ia32_sys_close" },
	{ __NR_getpid, "__ia32_sys_getpid" },
};

#define DISPATCHER		"do_int80_syscall_32"
#define DISPATCHER_SIZE		256	/* bytes of it that are read */

/*
 * Return the address of a kernel function, or 0. A probe that is disabled
 * changes no code. Its address is filled in even if the function may not be
 * probed.
 */
static unsigned long __init function_address(const char *name)
{
	struct kprobe probe = {
		.symbol_name = name,
		.flags = KPROBE_FLAG_DISABLED,
	};

	if (!register_kprobe(&probe))
		unregister_kprobe(&probe);
	return (unsigned long)probe.addr;
}

static bool __init is_call_table(unsigned long address,
				 const unsigned long handlers[])
{
	unsigned long entry, at;
	int i;

	for (i = 0; i < ARRAY_SIZE(known); i++) {
		at = address + known[i].nr * sizeof(entry);
		if (copy_from_kernel_nofault(&entry, (void *)at, sizeof(entry)) ||
		    entry != handlers[i])
			return false;
	}
	return true;
}

/*
 * Return the kernel's table of system calls, or NULL. The kernel does not export
 * its address, but an instruction of the dispatcher contains it. So any four
 * bytes of the dispatcher are tried as an address.
 */
static sys_call_ptr_t * __init find_call_table(void)
{
	unsigned long dispatcher = function_address(DISPATCHER);
	unsigned long handlers[ARRAY_SIZE(known)];
	unsigned long at, address;
	int i;

	for (i = 0; i < ARRAY_SIZE(known); i++) {
		handlers[i] = function_address(known[i].name);
		if (!handlers[i])
			return NULL;
	}
	if (!dispatcher)
		return NULL;
	for (at = dispatcher; at < dispatcher + DISPATCHER_SIZE; at++) {
		if (copy_from_kernel_nofault(&address, (void *)at, sizeof(address)))
			return NULL;
		if (is_call_table(address, handlers))
			return (sys_call_ptr_t *)address;
	}
	return NULL;
}

/* ---- Complete: how an entry of the table is written ---- */

/* Forget what this CPU has cached about the page of an address. */
static void flush_page(void *address)
{
	asm volatile("invlpg (%0)" : : "r" (address) : "memory");
}

/*
 * The table lies in a page that nobody may write to. Make the page of an address
 * writable, and make it read-only again: as soon as possible, and always.
 */
static void set_addr_rw(void *address)
{
	unsigned int level;
	pte_t *pte = lookup_address((unsigned long)address, &level);

	set_pte_atomic(pte, pte_mkwrite(*pte));
	on_each_cpu(flush_page, address, 1);
}

static void set_addr_ro(void *address)
{
	unsigned int level;
	pte_t *pte = lookup_address((unsigned long)address, &level);

	set_pte_atomic(pte, pte_wrprotect(*pte));
	on_each_cpu(flush_page, address, 1);
}

/* Does the table lie in pages of their own, and not in a huge one? */
static bool __init call_table_has_small_pages(void)
{
	unsigned int first, last;

	return lookup_address((unsigned long)call_table, &first) &&
	       lookup_address((unsigned long)&call_table[NR_syscalls - 1], &last) &&
	       first == PG_LEVEL_4K && last == PG_LEVEL_4K;
}

/* Replace an entry of the table. Under calltable_lock. */
static void __maybe_unused set_handler(int nr, sys_call_ptr_t handler)
{
	set_addr_rw(&call_table[nr]);
	WRITE_ONCE(call_table[nr], handler);
	set_addr_ro(&call_table[nr]);
}

/* ---- Complete: the lists of pids; all of this under pidlist_lock ---- */

/* Return the entry of a pid in the list of a call, or NULL. */
static struct pid_entry *find_pid(struct call *call, pid_t pid)
{
	struct pid_entry *entry;

	list_for_each_entry(entry, &call->pids, list)
		if (entry->pid == pid)
			return entry;
	return NULL;
}

/* Add a pid to the list of a call: 0, or -ENOMEM. It must not be in there. */
static int __maybe_unused add_pid(struct call *call, pid_t pid)
{
	struct pid_entry *entry = kmalloc(sizeof(*entry), GFP_ATOMIC);

	if (!entry)
		return -ENOMEM;
	entry->pid = pid;
	list_add(&entry->list, &call->pids);
	return 0;
}

/* Remove a pid from the list of a call: 0, or -EINVAL if it is not in there. */
static int __maybe_unused del_pid(struct call *call, pid_t pid)
{
	struct pid_entry *entry = find_pid(call, pid);

	if (!entry)
		return -EINVAL;
	list_del(&entry->list);
	kfree(entry);
	return 0;
}

/* Empty the list of a call. */
static void __maybe_unused del_all_pids(struct call *call)
{
	struct pid_entry *entry, *next;

	list_for_each_entry_safe(entry, next, &call->pids, list) {
		list_del(&entry->list);
		kfree(entry);
	}
}

/* ---- Complete: who the caller is, and whose a process is ---- */

/* Is the caller root? */
static bool __maybe_unused is_root(void)
{
	return uid_eq(current_euid(), GLOBAL_ROOT_UID);
}

/*
 * Is there a process of that pid, and does it belong to the caller? Returns 0 if
 * so, -EINVAL if there is none, and -EPERM if it is somebody else's. This holds for
 * root, too, who may monitor it nevertheless: you have to check for that.
 */
static int __maybe_unused check_owner(pid_t pid)
{
	struct task_struct *task;
	const struct cred *cred;
	int err = 0;

	if (pid <= 0)
		return -EINVAL;
	rcu_read_lock();
	task = pid_task(find_vpid(pid), PIDTYPE_PID);
	if (task) {
		cred = __task_cred(task);
		if (!uid_eq(cred->uid, current_euid()) ||
		    !uid_eq(cred->euid, current_euid()))
			err = -EPERM;
	} else {
		err = -EINVAL;
	}
	rcu_read_unlock();
	return err;
}

/* ---- Yours: what replaces the handlers of system calls ---- */

/*
 * The original handler may take any time: read() waits for somebody to type. So
 * unlock everything before you call it. And call it by "return original(regs);",
 * as the last thing that your function does: README.md says why.
 */

/*
 * Replaces the handler of each system call that is intercepted: logs the call if
 * the current process is monitored for it, and then carries it out.
 */
static long __maybe_unused interceptor(const struct pt_regs *regs)
{
	struct call *call = &calls[regs->orig_ax];

	/*
	 * TODO: find out, under pidlist_lock, whether current->pid is monitored for
	 * this call.
	 *
	 * TODO: if so, log it. The line is exactly this, and comes before the call:
	 *
	 *	printk(KERN_DEBUG LOG_LINE, current->pid, regs->orig_ax, regs->bx, ...);
	 */
	return call->original(regs);
}

/*
 * Replaces the handler of exit_group, by which a process ends: the process must be
 * in no list any more when another one gets its number.
 */
static long __maybe_unused my_exit_group(const struct pt_regs *regs)
{
	/* TODO: remove current->pid from the lists of all calls. */
	return original_exit_group(regs);
}

/* ---- Yours: the commands ---- */

/*
 * Replaces the handler of MY_CUSTOM_SYSCALL, which becomes
 *
 *	long my_syscall(int cmd, int syscall, int pid);
 */
static long __maybe_unused my_syscall(const struct pt_regs *regs)
{
	int cmd = regs->bx;
	int nr = regs->cx;
	pid_t pid = regs->dx;

	/*
	 * TODO: the checks that need no lock: the command, the number of the system
	 * call, the pid, and the permission. README.md has their order.
	 */
	(void)nr;
	(void)pid;

	/*
	 * TODO: the commands, each with the checks that depend on what is
	 * intercepted and monitored now. Hold the same lock during a check and what
	 * is done after it, or another CPU may change something in between.
	 */
	switch (cmd) {
	case REQUEST_SYSCALL_INTERCEPT:
	case REQUEST_SYSCALL_RELEASE:
	case REQUEST_START_MONITORING:
	case REQUEST_STOP_MONITORING:
	default:
		return -EINVAL;
	}
}

/* ---- Yours: loading and unloading ---- */

static int __init init_function(void)
{
	call_table = find_call_table();
	if (!call_table || !call_table_has_small_pages()) {
		pr_err("interceptor: not loaded: this kernel's table is not found\n");
		return -ENODEV;
	}

	/*
	 * TODO: initialise calls[]: each list of pids by INIT_LIST_HEAD().
	 *
	 * TODO: under calltable_lock, keep the handlers of MY_CUSTOM_SYSCALL and of
	 * __NR_exit_group, and replace them by my_syscall() and my_exit_group().
	 * That comes last: from then on your functions are called.
	 */
	return 0;
}

static void __exit exit_function(void)
{
	/*
	 * TODO: under calltable_lock, restore MY_CUSTOM_SYSCALL. Then wait, without
	 * a lock, until nobody is inside my_syscall() any more: synchronize_rcu()
	 * does that on this kernel, as none of your functions sleeps.
	 *
	 * TODO: under calltable_lock, restore exit_group and all calls that are
	 * still intercepted. Then wait again, now for those inside interceptor()
	 * and my_exit_group().
	 *
	 * TODO: empty all lists: what you have allocated, you have to free.
	 */
}

module_init(init_function);
module_exit(exit_function);
