// SPDX-License-Identifier: GPL-2.0
/*
 * Hijack system calls and monitor processes.
 *
 * The system call MY_CUSTOM_SYSCALL becomes my_syscall(cmd, syscall, pid). It
 * routes other system calls through before_call(), which logs the calls of
 * monitored processes; each call then goes on to the original.
 *
 * What each of the other files is about:
 *
 *   hook.h	puts a function in front of a system call, by one of two methods:
 *		table.h replaces the call's entry in the kernel's table, handler.h
 *		hooks the function that serves the call
 *   stubs.h	the instructions by which either calls that function
 *   abi.h	the numbers of a system call, native and of 32-bit programs
 *   pid_set.h	lists of processes, read without a lock
 *   rights.h	which processes belong to the caller
 *   restart.h	the kernel's own use of MY_CUSTOM_SYSCALL
 *   log.h	where monitored calls are recorded: the kernel log, events.h and
 *		exit_event.h (trace events), ring.h (memory that readers map)
 *   status.h	/proc/interceptor
 *   symbols.h, tracepoints.h, compat.h	what a module has to find in the kernel
 *
 * All of it is one unit of compilation: the other .c files are included at the
 * end, as kernel/sched/build_policy.c does. To compile and link each by itself
 * would read the kernel's headers a dozen times, which takes three times as long.
 *
 * State:
 *
 *   calls[nr] (calls.h) is what is known of system call nr. Its pids are two
 *   lists of processes: who is monitored while not everybody is, and who was
 *   taken out while everybody is. Only the one that counts has entries.
 *
 * Locking:
 *
 *   calls_lock (lock.h) serialises commands, readers of the status file, load
 *   and unload. before_call() takes no lock and writes nothing; the end of a
 *   process takes no lock, and marks its entries.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/binfmts.h>
#include <linux/bitmap.h>
#include <linux/cred.h>
#include <linux/module.h>
#include <linux/nospec.h>
#include <linux/pid.h>
#include <linux/pid_namespace.h>
#include <linux/preempt.h>
#include <linux/ratelimit.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <linux/srcu.h>
#include <linux/tracepoint.h>
#include <linux/workqueue.h>

#include "interceptor.h"
#include "abi.h"
#include "calls.h"
#include "compat.h"
#include "hook.h"
#include "lock.h"
#include "log.h"
#include "pid_set.h"
#include "restart.h"
#include "rights.h"
#include "status.h"
#include "tracepoints.h"

static char *method = "auto";
module_param(method, charp, 0444);
MODULE_PARM_DESC(method, "how to intercept: table, handler, or auto (default): the one that this kernel needs");

static bool direct = true;
module_param(direct, bool, 0444);
MODULE_PARM_DESC(direct, "hook handlers by ftrace direct calls where the kernel can (default), or N: by kprobes alone");

static bool users = true;
module_param(users, bool, 0444);
MODULE_PARM_DESC(users, "users may monitor their own processes (default), or N: root alone monitors");

static unsigned int user_entries = 1024;
module_param(user_entries, uint, 0444);
MODULE_PARM_DESC(user_entries, "how many processes a user may have recorded, over all system calls (default 1024)");

static unsigned int user_lines = 1000;
module_param(user_lines, uint, 0444);
MODULE_PARM_DESC(user_lines, "how many lines a second are logged for what users monitor (default 1000, 0: no limit)");

DEFINE_MUTEX(calls_lock);	/* see lock.h */

struct call calls[ABI_CALLS];
u8 call_watched[ABI_CALLS];
static DECLARE_BITMAP(intercepted, ABI_CALLS);

/* Commands are taken from the end of loading to the beginning of unloading. */
static bool commands_taken;

/* The tasks that are inside my_syscall(). */
static struct srcu_struct commands;

/* ---- The four commands ---- */

static const struct hook_action call_action;	/* of before_call(), below */

/*
 * Switch to the other list, which is empty, and clear the one that counted.
 *
 * A: the other list was cleared before the switch, for a reader that finds it
 *    switched. Pairs with A in monitored_for().
 * B: this list is cleared after the switch, for a reader that finds it cleared in
 *    part or whole. Pairs with B in monitored_for().
 */
static void set_everybody(struct call *call, bool everybody)
{
	lockdep_assert_held(&calls_lock);
	smp_store_release(&call->everybody, everybody);	/* A */
	if (everybody)
		WRITE_ONCE(call_watched[call - calls], WATCHED_EVERYBODY);
	smp_wmb();					/* B */
	pid_set_clear(&call->pids[!everybody]);
}

/*
 * After each change of the lists. That nobody is watched any more is said last, and
 * that everybody is before a list is cleared: in between, the byte says too much.
 */
static void update_watched(struct call *call)
{
	u8 watched = call->everybody ? WATCHED_EVERYBODY :
		     xa_empty(&call->pids[false]) ? WATCHED_NOBODY : WATCHED_LISTED;

	lockdep_assert_held(&calls_lock);
	/* Entries and the switch come first: pairs with call_wanted(). */
	smp_store_release(&call_watched[call - calls], watched);
}

static void unhook_later(struct work_struct *work);
static DECLARE_DELAYED_WORK(unhooking, unhook_later);

static void release_later(struct call *call)
{
	call->leaving = true;
	schedule_delayed_work(&unhooking, HZ);
}

/*
 * A call that could not be unhooked, by release() or after a failed intercept(),
 * is tried again each second, so that the module can be unloaded once whatever
 * kept the hook is gone. Until then nobody is monitored.
 */
static void unhook_later(struct work_struct *work)
{
	unsigned int i;
	bool again = false;

	mutex_lock(&calls_lock);
	for_each_set_bit(i, intercepted, ABI_CALLS) {
		if (!calls[i].leaving)
			continue;
		if (hooks_remove(calls[i].hooks, i)) {
			again = true;
			continue;
		}
		calls[i].leaving = false;
		clear_bit(i, intercepted);
	}
	mutex_unlock(&calls_lock);
	if (again)
		schedule_delayed_work(&unhooking, HZ);
}

static int intercept(int syscall)
{
	int err;

	if (hooks_any(calls[syscall].hooks))
		return -EBUSY;
	err = hooks_install(calls[syscall].hooks, syscall, &call_action, direct,
			    "not intercepted");
	if (hooks_any(calls[syscall].hooks))
		set_bit(syscall, intercepted);
	if (err && hooks_any(calls[syscall].hooks))
		release_later(&calls[syscall]);
	return err;
}

static void clear(struct call *call)
{
	set_everybody(call, false);
	pid_set_clear(&call->pids[false]);
	update_watched(call);
}

/*
 * Where there is no memory, nothing is changed. Otherwise nobody is monitored
 * from here on, whether the call can be given back now or not.
 */
static int release(int syscall)
{
	struct call *call = &calls[syscall];
	int err;

	if (!hooks_any(call->hooks))
		return -EINVAL;
	err = hooks_remove(call->hooks, syscall);
	if (err == -ENOMEM)
		return err;
	clear(call);
	if (err) {
		release_later(call);
		return err;
	}
	call->leaving = false;
	clear_bit(syscall, intercepted);
	return 0;
}

static int start_everybody(struct call *call)
{
	if (!call->everybody) {
		set_everybody(call, true);
		return 0;
	}
	if (xa_empty(&call->pids[true]))
		return -EBUSY;
	pid_set_clear(&call->pids[true]);
	return 0;
}

static int stop_everybody(struct call *call)
{
	if (!call->everybody)
		return -EINVAL;
	set_everybody(call, false);
	return 0;
}

static bool may_monitor(struct task_struct *task)
{
	return is_root() || (users && belongs_to_caller(task));
}

/*
 * Add an entry for @pid, unless the process has ended, or got another owner, since
 * it was looked up: then nobody would remove the entry.
 */
static int record(struct call *call, struct pid *pid)
{
	struct xarray *pids = &call->pids[call->everybody];
	struct task_struct *task;
	bool by_root = is_root();
	int err;

	if (!by_root && !pid_set_find(pids, pid_nr(pid), pid) &&
	    pid_sets_made_by(current_euid()) >= user_entries) {
		pr_notice_ratelimited("not monitored: user %u has %u processes recorded (user_entries=%u)\n",
				      from_kuid(&init_user_ns, current_euid()),
				      user_entries, user_entries);
		return -ENOMEM;
	}
	err = pid_set_add(pids, pid, current_euid(), by_root, &call->latest);
	if (err)
		return err;
	/*
	 * Pairs with the one in forget(): it sees our entry, or we its death,
	 * or the rights that it has by exec().
	 */
	smp_mb();
	rcu_read_lock();
	task = pid_task(pid, PIDTYPE_PID);
	if (!task)
		err = -EINVAL;
	else if (!may_monitor(task))
		err = -EPERM;
	rcu_read_unlock();
	if (err)
		pid_set_remove(pids, pid);
	return err;
}

static int start_monitoring(struct call *call, struct pid *pid)
{
	if (!pid)
		return start_everybody(call);
	if (call->everybody)
		return pid_set_remove(&call->pids[true], pid) ? 0 : -EBUSY;
	return record(call, pid);
}

static int stop_monitoring(struct call *call, struct pid *pid)
{
	int err;

	if (!pid)
		return stop_everybody(call);
	if (!call->everybody)
		return pid_set_remove(&call->pids[false], pid) ? 0 : -EINVAL;
	err = record(call, pid);
	return err == -EBUSY ? -EINVAL : err;
}

static bool is_command(int cmd)
{
	return cmd >= REQUEST_SYSCALL_INTERCEPT &&
	       cmd <= REQUEST_STOP_MONITORING;
}

/* The call that has this number in @abi, or -1 if it can't be intercepted. */
static int interceptable(const struct syscall_abi *abi, int syscall)
{
	int nr = abi_call(abi, syscall);

	return nr == MY_CUSTOM_SYSCALL ? -1 : nr;
}

/*
 * Look up the process of the caller's pid namespace; NULL for 0: everybody.
 *
 * Return: with a reference held, or -EINVAL: no such process, or -EPERM: the
 * caller may not monitor it.
 */
static struct pid *find_monitorable(int nr)
{
	struct task_struct *task;
	struct pid *pid;

	if (nr < 0)
		return ERR_PTR(-EINVAL);
	if (!nr)
		return is_root() ? NULL : ERR_PTR(-EPERM);
	rcu_read_lock();
	pid = find_vpid(nr);
	task = pid_task(pid, PIDTYPE_PID);
	if (!task)
		pid = ERR_PTR(-EINVAL);
	else if (!may_monitor(task))
		pid = ERR_PTR(-EPERM);
	else
		get_pid(pid);
	rcu_read_unlock();
	return pid;
}

static int monitor(int cmd, int syscall, int nr)
{
	struct call *call = &calls[syscall];
	struct pid *pid;
	int err;

	pid = find_monitorable(nr);
	if (IS_ERR(pid))
		return PTR_ERR(pid);
	mutex_lock(&calls_lock);
	if (!hooks_any(call->hooks) || call->leaving)
		err = -EINVAL;
	else if (cmd == REQUEST_START_MONITORING)
		err = start_monitoring(call, pid);
	else
		err = stop_monitoring(call, pid);
	update_watched(call);
	mutex_unlock(&calls_lock);
	put_pid(pid);
	return err;
}

static int reroute(int cmd, int syscall)
{
	int err;

	if (!is_root())
		return -EPERM;
	mutex_lock(&calls_lock);
	if (cmd == REQUEST_SYSCALL_INTERCEPT)
		err = intercept(syscall);
	else
		err = release(syscall);
	mutex_unlock(&calls_lock);
	return err;
}

/* @syscall is a number of the caller's ABI. */
static int my_syscall(int cmd, int syscall, int pid)
{
	syscall = interceptable(abi_current(), syscall);
	if (!is_command(cmd) || syscall < 0)
		return -EINVAL;
	syscall = array_index_nospec(syscall, ABI_CALLS);
	if (cmd == REQUEST_SYSCALL_INTERCEPT || cmd == REQUEST_SYSCALL_RELEASE)
		return reroute(cmd, syscall);
	return monitor(cmd, syscall, pid);
}

/* ---- MY_CUSTOM_SYSCALL, which is restart_syscall() ---- */

/* Not the kernel's own restart of an interrupted sleep: see restart.c. */
static bool is_my_syscall(struct pt_regs *regs)
{
	const struct syscall_abi *abi = abi_current();
	unsigned long arg[6];

	if (!READ_ONCE(commands_taken) || !abi)
		return false;
	abi_arguments(regs, arg);
	return !is_restart(arg, is_command(arg[0]) &&
				interceptable(abi, arg[1]) >= 0);
}

static __used long do_my_syscall(struct pt_regs *regs)
{
	unsigned long arg[6];
	int idx, ret;

	idx = srcu_read_lock(&commands);
	pid_sets_flush();		/* processes that ended before this command */
	abi_arguments(regs, arg);
	ret = my_syscall(arg[0], arg[1], arg[2]);
	srcu_read_unlock(&commands, idx);
	return ret;
}

static __used unsigned long instead_of_restart_syscall(struct pt_regs *regs)
{
	return is_my_syscall(regs) ? (unsigned long)do_my_syscall : 0;
}

DEFINE_HOOK_INSTEAD(restart_syscall, instead_of_restart_syscall);

/* ---- The path of an intercepted call ---- */

/* Who has the current process monitored. */
enum audience { NOBODY, A_USER, ROOT };

/*
 * Either list alone can be half cleared while the other takes over: if
 * everybody has changed meanwhile, look again.
 */
static enum audience monitored_for(struct call *call)
{
	struct entry *entry;
	enum audience listed;
	bool everybody;

	do {
		/* A: pairs with A in set_everybody(), the array was empty. */
		everybody = smp_load_acquire(&call->everybody);
		listed = NOBODY;
		if (pid_set_may_have_current()) {
			rcu_read_lock();
			entry = pid_set_find_current(&call->pids[everybody],
						     &call->latest);
			if (entry)
				listed = READ_ONCE(entry->by_root) ? ROOT :
					 A_USER;
			rcu_read_unlock();
		}
		/* B: pairs with B there, an array that is being cleared. */
		smp_rmb();
	} while (everybody != READ_ONCE(call->everybody));
	if (everybody)		/* which root alone can start */
		return listed == NOBODY ? ROOT : NOBODY;
	return listed;
}

/*
 * False for most, without a look at any list. As in monitored_for(), a list that
 * was cleared because everybody is monitored by now doesn't count.
 */
static __always_inline bool may_be_monitored(unsigned long call)
{
	const u8 *watched = call_watched;	/* kernels with UBSAN check indices of arrays */

	if (pid_set_may_have_current())
		return true;
	smp_rmb();			/* pairs with B in set_everybody() */
	return READ_ONCE(watched[call]) == WATCHED_EVERYBODY;
}

/* Where nobody records, a monitored call ends its detour here. */
static __always_inline bool may_be_recorded(unsigned long call)
{
	return may_be_monitored(call) && log_channels();
}

/* Runs before the original of a call that may be recorded. */
static noinline notrace void before_call(struct pt_regs *regs, unsigned long call)
{
	enum audience audience = monitored_for(&calls[call]);

	if (audience != NOBODY)
		log_call(regs, log_channels(), audience == ROOT ? 0 : user_lines);
}

DEFINE_HOOK_BEFORE_BY_BYTE(call, call_watched, may_be_recorded, before_call);

bool call_is_monitored(int call)
{
	/* What the byte stands for was written before it: as in call_wanted(). */
	return smp_load_acquire(&call_watched[call]) && may_be_monitored(call) &&
	       monitored_for(&calls[call]) != NOBODY;
}

/* ---- The end of a process, and its change of owner ---- */

/* Is the entry of a process, or thread, to be removed? */
typedef bool (*entry_test)(const struct entry *entry, const void *about);

static bool is_of(const struct entry *entry, const void *pid)
{
	return entry->pid == pid;
}

/* The entry's pid may be about to be freed: it is used only if it can still be found. */
static bool is_of_nobody(const struct entry *entry, const void *nr)
{
	struct pid *pid = find_pid_ns(*(const pid_t *)nr, &init_pid_ns);

	return entry->pid != pid || !pid_has_task(pid, PIDTYPE_PID);
}

/* Mark the entries of a pid that pass the test as gone. Takes no lock. */
static void forget(pid_t nr, entry_test test, const void *about)
{
	struct entry *entry;
	unsigned int i;
	int list;

	/* Pairs with the one in record(). */
	smp_mb();
	if (!atomic_read(pid_count(nr)))
		return;
	rcu_read_lock();
	for_each_set_bit(i, intercepted, ABI_CALLS) {
		for (list = 0; list < ARRAY_SIZE(calls[i].pids); list++) {
			entry = xa_load(&calls[i].pids[list], nr);
			if (entry && test(entry, about))
				pid_set_mark_gone(entry);
		}
	}
	rcu_read_unlock();
}

/* Runs before the original exit_group(), from which no process returns. */
static void before_exit_group(struct pt_regs *regs, unsigned long call)
{
	/* The hook keeps this action while the call is intercepted: see hooks_install(). */
	if (call_wanted(call))
		before_call(regs, call);
	/* Other threads go on until the signal that ends them gets there. */
	if (thread_group_empty(current))
		forget(current->tgid, is_of, task_tgid(current));
}

static bool exit_group_wanted(unsigned long call)
{
	return true;
}

DEFINE_HOOK_BEFORE(exit_group, exit_group_wanted, before_exit_group);

/* Each thread that ends, by a signal or by exit(), comes through here. */
static void COMPAT_ON_EXIT(on_exit)
{
	if (!thread_group_leader(task))
		forget(task->pid, is_of, task_pid(task));
	if (!atomic_read(&task->signal->live))
		forget(task->tgid, is_of, task_tgid(task));
}

/*
 * No task has this pid any more. Its entry may have been added after on_exit(), for
 * a zombie, and a thread that calls exec() gives up its own pid without an exit.
 */
static void on_free(void *data, struct task_struct *task)
{
	forget(task->pid, is_of_nobody, &task->pid);
}

/* Was this entry made by a user who may not make one for the program of @bprm? */
static bool is_out_of_reach(const struct entry *entry, const void *bprm)
{
	const struct linux_binprm *program = bprm;

	return !READ_ONCE(entry->by_root) &&
	       (program->secureexec ||
		!is_owned_by(current_cred(), entry->maker));
}

/* A user may not monitor a program that has more rights than the user. */
static void on_exec(void *data, struct task_struct *task, pid_t old_pid,
		    struct linux_binprm *bprm)
{
	forget(task->tgid, is_out_of_reach, bprm);
}

/* Take out the entries of processes that have ended. */
static void reap(struct work_struct *work)
{
	unsigned int i;

	mutex_lock(&calls_lock);
	pid_sets_reap();
	for_each_set_bit(i, intercepted, ABI_CALLS)
		update_watched(&calls[i]);
	mutex_unlock(&calls_lock);
}

static struct tracepoint_callback callbacks[] = {
	{ .name = "sched_process_exit", .function = on_exit },
	{ .name = "sched_process_free", .function = on_free },
	{ .name = "sched_process_exec", .function = on_exec },
};

/* ---- Load and unload ---- */

/* How often unloading tries again, in jiffies, and at how many tries it says so: each 10 s. */
#define UNHOOK_PERIOD	(HZ / 10)
#define UNHOOK_LOGGED	100

static struct hook *exit_group_hooks[ABIS], *my_syscall_hooks[ABIS];

static void callbacks_unregister(void)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(callbacks); i++)
		callback_unregister(&callbacks[i]);
	tracepoint_synchronize_unregister();
}

static int __init callbacks_register(void)
{
	int i, err;

	for (i = 0; i < ARRAY_SIZE(callbacks); i++) {
		err = callback_register(&callbacks[i]);
		if (err) {
			pr_err("not loaded: no tracepoint %s (%pe)\n",
			       callbacks[i].name, ERR_PTR(err));
			return err;
		}
	}
	return 0;
}

/* Hook one of the two calls that stay hooked while the module is loaded. */
static int hooks_install_locked(struct hook *hooks[ABIS], int syscall,
				const struct hook_action *action)
{
	int err;

	mutex_lock(&calls_lock);
	err = hooks_install(hooks, syscall, action, direct, "not loaded");
	mutex_unlock(&calls_lock);
	return err;
}

/*
 * module_exit() can't fail, and while somebody else still sends calls to this
 * module it must not return: wait for that to end, and say so.
 */
static void hooks_remove_wait(struct hook *hooks[ABIS], int syscall)
{
	int err, tries;

	for (tries = 0;; tries++) {
		mutex_lock(&calls_lock);
		err = hooks_remove(hooks, syscall);
		mutex_unlock(&calls_lock);
		if (!err)
			return;
		if (tries % UNHOOK_LOGGED == 0)
			pr_warn("not unloaded: system call %d can't be given back yet (%pe)\n",
				syscall, ERR_PTR(err));
		schedule_timeout_idle(UNHOOK_PERIOD);
	}
}

/* Wait for the sentinels of the hooks in the same way. */
static void sentinels_unregister_wait(void)
{
	int err, tries;

	for (tries = 0; (err = sentinels_unregister()); tries++) {
		if (tries % UNHOOK_LOGGED == 0)
			pr_warn("not unloaded: ftrace and kprobes still have hooks of this module, and ftrace has given up (%pe): only a reboot helps\n",
				ERR_PTR(err));
		schedule_timeout_idle(UNHOOK_PERIOD);
	}
}

/*
 * End a module that is loaded, or whose load failed on the way. No task may be
 * left in it, or come back to it: no command begins any more; those under way
 * end; all calls are released; then the tasks that are on their last
 * instructions out of the module are waited for.
 */
static void shut_down(void)
{
	int i;

	WRITE_ONCE(commands_taken, false);
	hooks_remove_wait(my_syscall_hooks, MY_CUSTOM_SYSCALL);
	hook_barrier();
	synchronize_srcu(&commands);
	cancel_delayed_work_sync(&unhooking);

	mutex_lock(&calls_lock);
	hooks_retire();
	mutex_unlock(&calls_lock);
	for_each_set_bit(i, intercepted, ABI_CALLS) {
		mutex_lock(&calls_lock);
		clear(&calls[i]);
		mutex_unlock(&calls_lock);
		hooks_remove_wait(calls[i].hooks, i);
	}

	hooks_remove_wait(exit_group_hooks, __NR_exit_group);
	status_remove();
	callbacks_unregister();
	hook_barrier();
	pid_sets_flush();	/* marked from a hook, or a tracepoint */
	log_end();
	sentinels_unregister_wait();
	hooks_free();
	pid_sets_end();
	cleanup_srcu_struct(&commands);
}

static int __init start_up(void)
{
	int err;

	err = callbacks_register();
	if (err)
		return err;
	err = status_create();
	if (err)
		return err;
	err = hooks_install_locked(exit_group_hooks, __NR_exit_group, &exit_group_action);
	if (err)
		return err;
	err = hooks_install_locked(my_syscall_hooks, MY_CUSTOM_SYSCALL,
				   &restart_syscall_action);
	if (err)
		return err;
	return log_begin();
}

static int __init interceptor_init(void)
{
	int i, err;

	pid_sets_begin(reap);
	for (i = 0; i < ABI_CALLS; i++) {
		pid_set_init(&calls[i].pids[false]);
		pid_set_init(&calls[i].pids[true]);
	}
	err = log_check();
	if (err)
		return err;
	err = hook_choose(method);
	if (err)
		return err;
	err = init_srcu_struct(&commands);
	if (err)
		return err;
	err = start_up();
	if (err) {
		shut_down();
		return err;
	}
	WRITE_ONCE(commands_taken, true);
	pr_info("loaded: system call %d takes commands, hooked by %s\n",
		MY_CUSTOM_SYSCALL, hook_method_name(my_syscall_hooks[0]));
	return 0;
}

static void __exit interceptor_exit(void)
{
	shut_down();
	pr_info("unloaded\n");
}

module_init(interceptor_init);
module_exit(interceptor_exit);

MODULE_DESCRIPTION("Intercepts system calls and logs those of monitored processes");
MODULE_AUTHOR("The interceptor authors");
MODULE_LICENSE("GPL");
MODULE_VERSION("1.0.0");

/* ---- The other source files ---- */

#include "abi.c"
#include "exit_event.c"
#include "handler.c"
#include "hook.c"
#include "log.c"
#include "pid_set.c"
#include "restart.c"
#include "rights.c"
#include "ring.c"
#include "status.c"
#include "symbols.c"
#include "table.c"
#include "tracepoints.c"
