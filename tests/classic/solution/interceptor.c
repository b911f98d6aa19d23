// SPDX-License-Identifier: GPL-2.0
/*
 * Intercepts system calls and logs those of monitored processes, by the table
 * method: it replaces entries of the kernel's table of system calls. It is
 * written for Linux 5.10 on i386.
 *
 * Locks:
 *
 *	calltable_lock	protects sys_call_table, the protection of its page, and
 *			"original" and "intercepted" of each struct call.
 *	pidlist_lock	protects "monitored" and "pids" of each struct call. Whoever
 *			takes both takes calltable_lock first.
 *
 * No code of this module sleeps while it holds a lock, or anywhere else except
 * in init_function() and exit_function(). Both locks are taken by processes
 * alone, never by interrupts, and with interrupts enabled.
 *
 * Known limits:
 *
 *   - Entries are plain numbers. A process that a signal kills never calls
 *     exit_group, so its number stays in the lists.
 *   - The kernel itself issues system call 0, restart_syscall, to continue a
 *     sleep that was stopped. It gets -EINVAL from my_syscall() instead.
 *   - exit_function() relies on a kernel that does not preempt its own code, as
 *     Debian's 5.10 does not.
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

/* Who is monitored. */
enum monitored {
	MONITOR_NONE,		/* nobody; the list is empty */
	MONITOR_LISTED,		/* the processes in the list, which is not empty */
	MONITOR_ALL,		/* everybody except the processes in the list */
};

struct pid_entry {
	pid_t pid;
	struct list_head list;
};

/* What the module knows about one system call. */
struct call {
	sys_call_ptr_t original;	/* still valid after a release */
	bool intercepted;
	enum monitored monitored;
	struct list_head pids;		/* of struct pid_entry */
};

static struct call calls[NR_syscalls];
static DEFINE_SPINLOCK(calltable_lock);
static DEFINE_SPINLOCK(pidlist_lock);

static sys_call_ptr_t *call_table;	/* the kernel's sys_call_table */
static sys_call_ptr_t original_custom;
static sys_call_ptr_t original_exit_group;

/* ---- The kernel's table: where it is ---- */

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
 * Return the kernel's table of system calls, or NULL. The kernel does not tell
 * its address, but the dispatcher has it in one of its instructions. So each
 * four bytes of the dispatcher are tried as an address.
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

/* ---- The kernel's table: how an entry is written ---- */

/* Forget what this CPU has cached about the page of an address. */
static void flush_page(void *address)
{
	asm volatile("invlpg (%0)" : : "r" (address) : "memory");
}

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
static void set_handler(int nr, sys_call_ptr_t handler)
{
	set_addr_rw(&call_table[nr]);
	WRITE_ONCE(call_table[nr], handler);
	set_addr_ro(&call_table[nr]);
}

/* ---- The lists of pids; all of this under pidlist_lock ---- */

static struct pid_entry *find_pid(struct call *call, pid_t pid)
{
	struct pid_entry *entry;

	list_for_each_entry(entry, &call->pids, list)
		if (entry->pid == pid)
			return entry;
	return NULL;
}

static int add_pid(struct call *call, pid_t pid)
{
	struct pid_entry *entry = kmalloc(sizeof(*entry), GFP_ATOMIC);

	if (!entry)
		return -ENOMEM;
	entry->pid = pid;
	list_add(&entry->list, &call->pids);
	return 0;
}

static void del_entry(struct call *call, struct pid_entry *entry)
{
	list_del(&entry->list);
	kfree(entry);
	if (call->monitored == MONITOR_LISTED && list_empty(&call->pids))
		call->monitored = MONITOR_NONE;
}

/* End all monitoring of a call. */
static void forget_all(struct call *call)
{
	struct pid_entry *entry, *next;

	list_for_each_entry_safe(entry, next, &call->pids, list) {
		list_del(&entry->list);
		kfree(entry);
	}
	call->monitored = MONITOR_NONE;
}

/* Remove a pid from the lists of all calls. */
static void forget_pid(pid_t pid)
{
	struct pid_entry *entry;
	int nr;

	for (nr = 0; nr < NR_syscalls; nr++) {
		entry = find_pid(&calls[nr], pid);
		if (entry)
			del_entry(&calls[nr], entry);
	}
}

/* ---- What replaces the handlers of system calls ---- */

/*
 * A process may sleep in the original handler for any time, and the module may
 * be unloaded meanwhile. So no lock is held there, and the original must not
 * return to this module: "return original(regs);" has to be the last thing that
 * a function does, and the compiler makes a jump of it (see Kbuild).
 */

/*
 * Is the current process monitored? A list has the number of a process, which
 * stands for all its threads, or the number of one of its threads.
 */
static bool is_monitored(struct call *call)
{
	bool listed, monitored;

	spin_lock(&pidlist_lock);
	listed = find_pid(call, current->tgid) || find_pid(call, current->pid);
	monitored = (call->monitored == MONITOR_ALL) ? !listed : listed;
	spin_unlock(&pidlist_lock);
	return monitored;
}

/* Replaces the handler of each system call that is intercepted. */
static long interceptor(const struct pt_regs *regs)
{
	struct call *call = &calls[regs->orig_ax];

	if (is_monitored(call))
		printk(KERN_DEBUG LOG_LINE, current->pid, regs->orig_ax,
		       regs->bx, regs->cx, regs->dx, regs->si, regs->di, regs->bp);
	return call->original(regs);
}

/* Replaces exit_group: a process that ends is monitored no more. */
static long my_exit_group(const struct pt_regs *regs)
{
	spin_lock(&pidlist_lock);
	forget_pid(current->tgid);
	forget_pid(current->pid);
	spin_unlock(&pidlist_lock);
	return original_exit_group(regs);
}

/* ---- Commands: what the caller must not ask for ---- */

static bool is_root(void)
{
	return uid_eq(current_euid(), GLOBAL_ROOT_UID);
}

/* Does a process belong to the caller? Under RCU. */
static bool is_own(struct task_struct *task)
{
	const struct cred *cred = __task_cred(task);

	return uid_eq(cred->uid, current_euid()) && uid_eq(cred->euid, current_euid());
}

/* May the caller start or stop to monitor this pid? 0 stands for everybody. */
static int check_pid(pid_t pid)
{
	struct task_struct *task;
	int err = 0;

	if (pid < 0)
		return -EINVAL;
	if (pid == 0)
		return is_root() ? 0 : -EPERM;
	rcu_read_lock();
	task = pid_task(find_vpid(pid), PIDTYPE_PID);
	if (!task)
		err = -EINVAL;
	else if (!is_root() && !is_own(task))
		err = -EPERM;
	rcu_read_unlock();
	return err;
}

/* The checks that do not depend on what is intercepted and monitored. */
static int check_request(int cmd, int nr, pid_t pid)
{
	if (cmd < REQUEST_SYSCALL_INTERCEPT || cmd > REQUEST_STOP_MONITORING)
		return -EINVAL;
	if (nr < 0 || nr >= NR_syscalls || nr == MY_CUSTOM_SYSCALL)
		return -EINVAL;
	if (cmd == REQUEST_START_MONITORING || cmd == REQUEST_STOP_MONITORING)
		return check_pid(pid);
	return is_root() ? 0 : -EPERM;
}

/* ---- Commands: what is done; all of this under calltable_lock ---- */

static int intercept(int nr)
{
	struct call *call = &calls[nr];

	if (call->intercepted)
		return -EBUSY;
	call->original = call_table[nr];
	call->intercepted = true;
	set_handler(nr, interceptor);
	return 0;
}

/*
 * A caller that is on its way through interceptor() still finds the original
 * handler, which is not forgotten.
 */
static int release(int nr)
{
	struct call *call = &calls[nr];

	if (!call->intercepted)
		return -EINVAL;
	set_handler(nr, call->original);
	call->intercepted = false;
	spin_lock(&pidlist_lock);
	forget_all(call);
	spin_unlock(&pidlist_lock);
	return 0;
}

/* Under pidlist_lock, too. */
static int start_all(struct call *call)
{
	if (call->monitored == MONITOR_ALL && list_empty(&call->pids))
		return -EBUSY;
	forget_all(call);
	call->monitored = MONITOR_ALL;
	return 0;
}

/* Under pidlist_lock, too. */
static int start_pid(struct call *call, pid_t pid)
{
	struct pid_entry *entry = find_pid(call, pid);
	int err;

	if (call->monitored == MONITOR_ALL) {
		if (!entry)
			return -EBUSY;
		del_entry(call, entry);
		return 0;
	}
	if (entry)
		return -EBUSY;
	err = add_pid(call, pid);
	if (!err)
		call->monitored = MONITOR_LISTED;
	return err;
}

static int start_monitoring(int nr, pid_t pid)
{
	struct call *call = &calls[nr];
	int err;

	if (!call->intercepted)
		return -EINVAL;
	spin_lock(&pidlist_lock);
	err = pid ? start_pid(call, pid) : start_all(call);
	spin_unlock(&pidlist_lock);
	return err;
}

/* Under pidlist_lock, too. */
static int stop_all(struct call *call)
{
	if (call->monitored != MONITOR_ALL)
		return -EINVAL;
	forget_all(call);
	return 0;
}

/* Under pidlist_lock, too. */
static int stop_pid(struct call *call, pid_t pid)
{
	struct pid_entry *entry = find_pid(call, pid);

	if (call->monitored == MONITOR_ALL)
		return entry ? -EINVAL : add_pid(call, pid);
	if (!entry)
		return -EINVAL;
	del_entry(call, entry);
	return 0;
}

static int stop_monitoring(int nr, pid_t pid)
{
	struct call *call = &calls[nr];
	int err;

	if (!call->intercepted)
		return -EINVAL;
	spin_lock(&pidlist_lock);
	err = pid ? stop_pid(call, pid) : stop_all(call);
	spin_unlock(&pidlist_lock);
	return err;
}

/* Replaces MY_CUSTOM_SYSCALL: my_syscall(cmd, syscall, pid). */
static long my_syscall(const struct pt_regs *regs)
{
	int cmd = regs->bx;
	int nr = regs->cx;
	pid_t pid = regs->dx;
	int err;

	err = check_request(cmd, nr, pid);
	if (err)
		return err;

	spin_lock(&calltable_lock);
	switch (cmd) {
	case REQUEST_SYSCALL_INTERCEPT:
		err = intercept(nr);
		break;
	case REQUEST_SYSCALL_RELEASE:
		err = release(nr);
		break;
	case REQUEST_START_MONITORING:
		err = start_monitoring(nr, pid);
		break;
	case REQUEST_STOP_MONITORING:
		err = stop_monitoring(nr, pid);
		break;
	}
	spin_unlock(&calltable_lock);
	return err;
}

/* ---- Loading and unloading ---- */

static int __init init_function(void)
{
	int nr;

	call_table = find_call_table();
	if (!call_table || !call_table_has_small_pages()) {
		pr_err("interceptor: not loaded: this kernel's table is not found\n");
		return -ENODEV;
	}
	for (nr = 0; nr < NR_syscalls; nr++)
		INIT_LIST_HEAD(&calls[nr].pids);

	/* From here on the functions above are called. */
	spin_lock(&calltable_lock);
	original_custom = call_table[MY_CUSTOM_SYSCALL];
	original_exit_group = call_table[__NR_exit_group];
	set_handler(MY_CUSTOM_SYSCALL, my_syscall);
	set_handler(__NR_exit_group, my_exit_group);
	spin_unlock(&calltable_lock);
	return 0;
}

/*
 * synchronize_rcu() waits until each CPU has left the kernel code that it is in,
 * or sleeps. No code above sleeps, so nobody is inside of it any more.
 */
static void __exit exit_function(void)
{
	int nr;

	spin_lock(&calltable_lock);
	set_handler(MY_CUSTOM_SYSCALL, original_custom);
	spin_unlock(&calltable_lock);
	synchronize_rcu();	/* no command is under way */

	spin_lock(&calltable_lock);
	for (nr = 0; nr < NR_syscalls; nr++)
		if (calls[nr].intercepted)
			release(nr);
	set_handler(__NR_exit_group, original_exit_group);
	spin_unlock(&calltable_lock);
	synchronize_rcu();	/* nobody is on the way to an original handler */
}

module_init(init_function);
module_exit(exit_function);
