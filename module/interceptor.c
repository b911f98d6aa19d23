// SPDX-License-Identifier: GPL-2.0
/*
 * Hijack system calls and monitor processes.
 *
 * The system call MY_CUSTOM_SYSCALL becomes my_syscall(cmd, syscall, pid). It
 * routes other system calls through before_call(), which logs the calls of
 * monitored processes; each call then goes on to the original. hook.h has how
 * a function gets in front of a system call, doors.h which numbers it has.
 *
 * What is intercepted and who is monitored:
 *
 *   calls[nr] is what is known of system call nr. Its pids are two lists of
 *   processes (entries.h): who is monitored while not everybody is, and who
 *   was taken out while everybody is. Only the one that counts has entries.
 *
 * Who protects it:
 *
 *   calls_lock serialises commands and readers of the status file.
 *   The lock of each list protects its entries against processes that die.
 *   before_call() takes no lock and writes nothing.
 */
/* With DEBUG, pr_devel() is printk(KERN_DEBUG) whatever dynamic debug says. */
#define DEBUG
#define pr_fmt(fmt) fmt

#include <linux/cred.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/nospec.h>
#include <linux/pid.h>
#include <linux/pid_namespace.h>
#include <linux/proc_fs.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <linux/seq_file.h>
#include <linux/srcu.h>
#include <linux/tracepoint.h>
#include <asm/syscall.h>

#include "interceptor.h"
#include "compat.h"
#include "doors.h"
#include "entries.h"
#include "hook.h"
#include "listen.h"

#define NAME KBUILD_MODNAME ": "
#define STATUS_NAME KBUILD_MODNAME

static char *way = "auto";
module_param(way, charp, 0444);
MODULE_PARM_DESC(way, "how to get in between: table, handler, or auto (default), which this kernel needs");

static bool direct = true;
module_param(direct, bool, 0444);
MODULE_PARM_DESC(direct, "hook handlers by ftrace direct calls where the kernel can (default), or N: by kprobes alone");

struct call {
	struct hook *hooks[DOORS];	/* all NULL: not intercepted */
	bool everybody;
	struct xarray pids[2];		/* [everybody] is the one that counts */
} __aligned(8 * sizeof(long));		/* a power of two is found by a shift */

static struct call calls[DOOR_CALLS];
static DEFINE_MUTEX(calls_lock);

/* The tasks that are inside my_syscall(). */
static struct srcu_struct commands;

/* ---- The path of an intercepted call ---- */

/* A process is all its threads; a thread that has an entry is just itself. */
static bool is_listed(struct xarray *pids)
{
	if (has_entry(pids, current->tgid, task_tgid(current)))
		return true;
	return !thread_group_leader(current) &&
	       has_entry(pids, current->pid, task_pid(current));
}

/*
 * Either array alone can be half cleared while the other takes over. Who finds
 * that the switch was thrown meanwhile looks again.
 */
static bool is_monitored(struct call *call)
{
	bool everybody, listed;

	do {
		/* Pairs with smp_store_release() in set_everybody(). */
		everybody = smp_load_acquire(&call->everybody);
		listed = is_listed(&call->pids[everybody]);
		smp_rmb();	/* likewise */
	} while (everybody != READ_ONCE(call->everybody));
	return listed != everybody;
}

static bool is_anybody_monitored(struct call *call)
{
	if (!xa_empty(&call->pids[false]))
		return true;
	smp_rmb();	/* an array that was cleared: see set_everybody() */
	return READ_ONCE(call->everybody);
}

static __always_inline bool call_wanted(struct pt_regs *regs)
{
	int nr = door_issued(regs);

	return nr >= 0 && is_anybody_monitored(&calls[nr]);
}

static noinline void log_call(struct pt_regs *regs)
{
	unsigned long arg[6];

	syscall_get_arguments(current, regs, arg);
	pr_devel(INTERCEPTOR_LOG_LINE "%s\n", current->pid,
		 (unsigned long)syscall_get_nr(current, regs),
		 arg[0], arg[1], arg[2], arg[3], arg[4], arg[5],
		 door_current()->mark);
}

/* Runs before the original of a call where somebody is monitored. */
static noinline notrace void before_call(struct pt_regs *regs)
{
	if (is_monitored(&calls[door_issued(regs)]))
		log_call(regs);
}

HOOK_BEFORE(call);

/* ---- The end of a process ---- */

/* A process or thread has ended: all its entries go. */
static void forget(pid_t nr, const struct pid *pid)
{
	struct call *call;

	/* Pairs with the one in record(). */
	smp_mb();
	if (!atomic_read(slot(nr)))
		return;
	for (call = calls; call < calls + DOOR_CALLS; call++) {
		entry_forget(&call->pids[false], nr, pid);
		entry_forget(&call->pids[true], nr, pid);
	}
}

/* Runs before the original exit_group(), from which no process returns. */
static void before_exit_group(struct pt_regs *regs)
{
	call_early(regs);
	forget(current->tgid, task_tgid(current));
}

static bool exit_group_wanted(struct pt_regs *regs)
{
	return true;
}

HOOK_BEFORE(exit_group);

/* However a thread ends, by a signal or by exit(), it comes through here. */
static void COMPAT_ON_EXIT(on_exit)
{
	if (!thread_group_leader(task))
		forget(task->pid, task_pid(task));
	if (!atomic_read(&task->signal->live))
		forget(task->tgid, task_tgid(task));
}

/*
 * Nobody bears this pid any more. It may have been listed after on_exit(), as
 * a zombie, and a thread that calls exec() gives its own pid up unexited.
 */
static void on_free(void *data, struct task_struct *task)
{
	forget(task->pid, NULL);
}

static struct listener listeners[] = {
	{ .name = "sched_process_exit", .probe = on_exit },
	{ .name = "sched_process_free", .probe = on_free },
};

/* ---- The four commands ---- */

/* The array that counts from now on is empty, and the other becomes so. */
static void set_everybody(struct call *call, bool everybody)
{
	/* Pairs with smp_load_acquire() in is_monitored(). */
	smp_store_release(&call->everybody, everybody);
	entries_clear(&call->pids[!everybody]);
}

/* Give a system call back: by each door, or what keeps one of them. */
static int give_back(struct hook *hooks[DOORS], int syscall)
{
	int i, failed, err = 0;

	for (i = 0; i < DOORS; i++) {
		if (!hooks[i])
			continue;
		failed = hook_remove(hooks[i], &doors[i],
				     door_number(&doors[i], syscall));
		if (failed)
			err = failed;
		else
			hooks[i] = NULL;
	}
	return err;
}

/*
 * Put @action in front of a system call, by each door that it has. If that
 * can't be, @failed and why is told.
 */
static int take(struct hook *hooks[DOORS], int syscall,
		const struct hook_action *action, const char *failed)
{
	struct hook *hook;
	int i, nr;

	for (i = 0; i < DOORS; i++) {
		nr = door_number(&doors[i], syscall);
		if (nr < 0)
			continue;
		hook = hook_install(&doors[i], nr, action, direct);
		if (IS_ERR(hook)) {
			pr_err(NAME "%s: can't hook %s: %s (%pe)\n",
			       failed, door_handler(&doors[i], nr),
			       hook_why(PTR_ERR(hook)), hook);
			give_back(hooks, syscall);
			return PTR_ERR(hook);
		}
		hooks[i] = hook;
	}
	return 0;
}

static bool is_taken(struct hook *const hooks[DOORS])
{
	int i;

	for (i = 0; i < DOORS; i++)
		if (hooks[i])
			return true;
	return false;
}

static int intercept(int syscall)
{
	if (is_taken(calls[syscall].hooks))
		return -EBUSY;
	return take(calls[syscall].hooks, syscall, &call_action,
		    "not intercepted");
}

static int release(int syscall)
{
	struct call *call = &calls[syscall];

	if (!is_taken(call->hooks))
		return -EINVAL;
	set_everybody(call, false);
	entries_clear(&call->pids[false]);
	return give_back(call->hooks, syscall);
}

static int start_everybody(struct call *call)
{
	if (!call->everybody) {
		set_everybody(call, true);
		return 0;
	}
	if (xa_empty(&call->pids[true]))
		return -EBUSY;
	entries_clear(&call->pids[true]);
	return 0;
}

static int stop_everybody(struct call *call)
{
	if (!call->everybody)
		return -EINVAL;
	set_everybody(call, false);
	return 0;
}

/* Add an entry for @pid unless it has died, when nobody would take it out. */
static int record(struct call *call, struct pid *pid)
{
	struct xarray *pids = &call->pids[call->everybody];
	int err;

	/* Of one that died just now, and whose number is born again. */
	entry_forget(pids, pid_nr(pid), NULL);
	err = entry_add(pids, pid);
	if (err)
		return err;
	/* Pairs with the one in forget(): it sees our entry, or we its death. */
	smp_mb();
	if (pid_has_task(pid, PIDTYPE_PID))
		return 0;
	entry_remove(pids, pid);
	return -EINVAL;
}

static int start_monitoring(struct call *call, struct pid *pid)
{
	if (!pid)
		return start_everybody(call);
	if (call->everybody)
		return entry_remove(&call->pids[true], pid) ? 0 : -EBUSY;
	return record(call, pid);
}

static int stop_monitoring(struct call *call, struct pid *pid)
{
	int err;

	if (!pid)
		return stop_everybody(call);
	if (!call->everybody)
		return entry_remove(&call->pids[false], pid) ? 0 : -EINVAL;
	err = record(call, pid);
	return err == -EBUSY ? -EINVAL : err;
}

static bool is_command(int cmd)
{
	return cmd >= REQUEST_SYSCALL_INTERCEPT &&
	       cmd <= REQUEST_STOP_MONITORING;
}

/* The call of that number by that door, -1: none that can be intercepted. */
static int interceptable(const struct door *door, int syscall)
{
	int nr = door_call(door, syscall);

	return nr == MY_CUSTOM_SYSCALL ? -1 : nr;
}

/* Not root inside a user namespace: that is somebody else outside of it. */
static bool is_root(void)
{
	return uid_eq(current_euid(), GLOBAL_ROOT_UID);
}

/* Somebody's setuid program isn't theirs: all three owners must agree. */
static bool is_owner(struct task_struct *task)
{
	const struct cred *cred = __task_cred(task);
	kuid_t caller = current_euid();

	return uid_eq(caller, cred->uid) && uid_eq(caller, cred->euid) &&
	       uid_eq(caller, cred->suid);
}

/*
 * The process that @nr is to the caller, NULL for 0: everybody.
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
	else if (!is_root() && !is_owner(task))
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
	if (!is_taken(call->hooks))
		err = -EINVAL;
	else if (cmd == REQUEST_START_MONITORING)
		err = start_monitoring(call, pid);
	else
		err = stop_monitoring(call, pid);
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

/* Numbers are those of the door by which the caller came. */
static int my_syscall(int cmd, int syscall, int pid)
{
	syscall = interceptable(door_current(), syscall);
	if (!is_command(cmd) || syscall < 0)
		return -EINVAL;
	syscall = array_index_nospec(syscall, DOOR_CALLS);
	if (cmd == REQUEST_SYSCALL_INTERCEPT || cmd == REQUEST_SYSCALL_RELEASE)
		return reroute(cmd, syscall);
	return monitor(cmd, syscall, pid);
}

/* ---- MY_CUSTOM_SYSCALL, which is restart_syscall() ---- */

/*
 * Are these the registers of a clock_nanosleep(clock, 0, request, remain) that
 * was interrupted? They could be those of a command about system call 0; but
 * the kernel has noted clock and remain, and no pid is as large as an address.
 */
static bool is_clock_nanosleep(const unsigned long arg[6])
{
	const struct restart_block *restart = &current->restart_block;
	unsigned long remain = restart->nanosleep.type == TT_NONE ? 0 :
			       (unsigned long)restart->nanosleep.rmtp;

	return restart->nanosleep.clockid == (clockid_t)arg[0] && !arg[1] &&
	       arg[2] > PID_MAX_LIMIT && arg[3] == remain;
}

/*
 * The kernel sends a process to this very number to finish a sleep that was
 * interrupted (stopped and continued, say). Its registers still are those of
 * the call that slept, and none of these reads as a command but
 * clock_nanosleep()'s, as all others start with a pointer.
 *
 * restart_block has the function that finishes the sleep. It outlives the
 * sleep, so it alone doesn't tell.
 */
static bool is_my_syscall(struct pt_regs *regs)
{
	const struct door *door = door_current();
	unsigned long arg[6];

	if (!door)
		return false;
	if (current->restart_block.fn == init_task.restart_block.fn)
		return true;
	syscall_get_arguments(current, regs, arg);
	return is_command(arg[0]) && interceptable(door, arg[1]) >= 0 &&
	       !is_clock_nanosleep(arg);
}

static __used long do_my_syscall(struct pt_regs *regs)
{
	unsigned long arg[6];
	int idx, ret;

	idx = srcu_read_lock(&commands);
	syscall_get_arguments(current, regs, arg);
	ret = my_syscall(arg[0], arg[1], arg[2]);
	srcu_read_unlock(&commands, idx);
	return ret;
}

static __used unsigned long instead_of_restart_syscall(struct pt_regs *regs)
{
	return is_my_syscall(regs) ? (unsigned long)do_my_syscall : 0;
}

HOOK_INSTEAD(restart_syscall);

/* ---- The status file ---- */

static void *status_start(struct seq_file *file, loff_t *pos)
{
	mutex_lock(&calls_lock);
	return *pos < DOOR_CALLS ? &calls[*pos] : NULL;
}

static void *status_next(struct seq_file *file, void *call, loff_t *pos)
{
	return ++*pos < DOOR_CALLS ? &calls[*pos] : NULL;
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
 * A call that only the 32-bit door has is told by that one's: "i386:192".
 */
static int status_show(struct seq_file *file, void *data)
{
	struct call *call = data;
	struct xarray *pids = &call->pids[call->everybody];
	unsigned long nr;
	struct pid *pid;

	if (!is_taken(call->hooks))
		return 0;
	if (call - calls < NR_syscalls)
		seq_printf(file, "%td", call - calls);
	else
		seq_printf(file, "i386:%td", call - calls - NR_syscalls);
	seq_printf(file, " %s", status_mode(call));
	xa_lock_bh(pids);	/* holds each entry's reference */
	xa_for_each(pids, nr, pid)
		seq_printf(file, " %d", pid_vnr(pid));
	xa_unlock_bh(pids);
	seq_putc(file, '\n');
	return 0;
}

static const struct seq_operations status_ops = {
	.start = status_start,
	.next = status_next,
	.stop = status_stop,
	.show = status_show,
};

/* ---- Load and unload ---- */

static struct hook *exit_group_hooks[DOORS], *my_syscall_hooks[DOORS];

static void stop_listening(void)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(listeners); i++)
		listener_stop(&listeners[i]);
	tracepoint_synchronize_unregister();
}

static int __init listen(void)
{
	int i, err;

	for (i = 0; i < ARRAY_SIZE(listeners); i++) {
		err = listener_start(&listeners[i]);
		if (err) {
			pr_err(NAME "not loaded: no tracepoint %s (%pe)\n",
			       listeners[i].name, ERR_PTR(err));
			stop_listening();
			return err;
		}
	}
	return 0;
}

/*
 * It can't be refused to unload a module that nobody was seen to need, and
 * this one must not go while somebody who took a system call over still sends
 * it on to here: the unloading waits for that to end.
 */
static void give_back_at_last(struct hook *hooks[DOORS], int syscall)
{
	while (give_back(hooks, syscall))
		schedule_timeout_idle(HZ / 10);
}

static int __init interceptor_init(void)
{
	int i, err;

	for (i = 0; i < DOOR_CALLS; i++) {
		entries_init(&calls[i].pids[false]);
		entries_init(&calls[i].pids[true]);
	}

	err = hook_choose(way);
	if (err)
		return err;
	err = init_srcu_struct(&commands);
	if (err)
		return err;
	err = listen();
	if (err)
		goto err_commands;
	if (!proc_create_seq(STATUS_NAME, 0400, NULL, &status_ops)) {
		err = -ENOMEM;
		goto err_listen;
	}
	err = take(exit_group_hooks, __NR_exit_group, &exit_group_action,
		   "not loaded");
	if (err)
		goto err_status;
	err = take(my_syscall_hooks, MY_CUSTOM_SYSCALL, &restart_syscall_action,
		   "not loaded");
	if (err)
		goto err_exit_group;
	pr_info(NAME "loaded: system call %d takes commands, hooked by %s\n",
		MY_CUSTOM_SYSCALL, hook_means(my_syscall_hooks[0]));
	return 0;

err_exit_group:
	give_back_at_last(exit_group_hooks, __NR_exit_group);
err_status:
	hook_barrier();
	hooks_free();
	remove_proc_entry(STATUS_NAME, NULL);
err_listen:
	stop_listening();
err_commands:
	cleanup_srcu_struct(&commands);
	return err;
}

/*
 * No task may be left in this module, nor come back to it. First no command
 * can begin; those under way end; all is released; then the last instructions
 * of whoever was on the way out are waited for.
 */
static void __exit interceptor_exit(void)
{
	int i;

	give_back_at_last(my_syscall_hooks, MY_CUSTOM_SYSCALL);
	hook_barrier();
	synchronize_srcu(&commands);

	for (i = 0; i < DOOR_CALLS; i++) {
		mutex_lock(&calls_lock);
		release(i);
		mutex_unlock(&calls_lock);
		give_back_at_last(calls[i].hooks, i);
	}

	give_back_at_last(exit_group_hooks, __NR_exit_group);
	remove_proc_entry(STATUS_NAME, NULL);
	stop_listening();
	hook_barrier();
	hooks_free();
	cleanup_srcu_struct(&commands);
	pr_info(NAME "unloaded\n");
}

module_init(interceptor_init);
module_exit(interceptor_exit);

MODULE_DESCRIPTION("Intercepts system calls and logs those of monitored processes");
MODULE_AUTHOR("The interceptor authors");
MODULE_LICENSE("GPL");
MODULE_VERSION("1.0.0");
