// SPDX-License-Identifier: GPL-2.0
/*
 * Hijack system calls and monitor processes.
 *
 * The system call MY_CUSTOM_SYSCALL becomes my_syscall(cmd, syscall, pid). It
 * routes other system calls through before_call(), which logs the calls of
 * monitored processes; each call then goes on to the original. hook.h has how
 * a function gets in front of a system call, abi.h which numbers it has.
 *
 * What is intercepted and who is monitored:
 *
 *   calls[nr] is what is known of system call nr. Its pids are two lists of
 *   processes (entries.h): who is monitored while not everybody is, and who
 *   was taken out while everybody is. Only the one that counts has entries.
 *
 * Who protects it:
 *
 *   calls_lock (lock.h) serialises commands, readers of the status file, load
 *   and unload. before_call() takes no lock and writes nothing; the end of a
 *   process takes no lock, and marks its entries.
 */
/* With DEBUG, pr_devel() is printk(KERN_DEBUG) whatever dynamic debug says. */
#define DEBUG
#define pr_fmt(fmt) fmt

#include <linux/binfmts.h>
#include <linux/bitmap.h>
#include <linux/capability.h>
#include <linux/cred.h>
#include <linux/module.h>
#include <linux/nospec.h>
#include <linux/pid.h>
#include <linux/pid_namespace.h>
#include <linux/preempt.h>
#include <linux/proc_fs.h>
#include <linux/ratelimit.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <linux/seq_file.h>
#include <linux/srcu.h>
#include <linux/tracepoint.h>
#include <asm/syscall.h>

#include "interceptor.h"
#include "compat.h"
#include "abi.h"
#include "entries.h"
#include "hook.h"
#include "listen.h"
#include "lock.h"
#include "restart.h"

#define NAME KBUILD_MODNAME ": "
#define STATUS_NAME KBUILD_MODNAME

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

#define USER_LINES_NOTICE	(10 * HZ)

struct call {
	struct hook *hooks[ABIS];	/* all NULL: not intercepted */
	bool leaving;			/* it is to be given back, and can't be */
	bool watched;			/* somebody may be monitored */
	bool everybody;
	struct xarray pids[2];		/* [everybody] is the one that counts */
} __aligned(8 * sizeof(long));		/* a power of two is found by a shift */

static struct call calls[ABI_CALLS];
static DECLARE_BITMAP(intercepted, ABI_CALLS);

/* Commands are taken from the end of loading to the beginning of unloading. */
static bool commands_taken;

/* The tasks that are inside my_syscall(). */
static struct srcu_struct commands;

/* ---- The path of an intercepted call ---- */

/*
 * The second that lines of users are counted in, and how many it has. That they
 * are left out is said once in USER_LINES_NOTICE.
 *
 * A ratelimit_state would say no where another CPU holds its lock, whatever the
 * limit is. Hooks may run with interrupts off (a kprobe of arm64), hence raw.
 */
static DEFINE_RAW_SPINLOCK(user_lines_lock);
static u64 user_lines_second, user_lines_noticed;
static unsigned int user_lines_logged;

/* For whom the current process is monitored. */
enum audience { NOBODY, A_USER, ROOT };

/*
 * Either array alone can be half cleared while the other takes over. If the
 * switch was thrown meanwhile, look again.
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
		if (current_may_have_entry()) {
			rcu_read_lock();
			entry = entry_of_current(&call->pids[everybody]);
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
 * Not for most, without a look at any list. As in monitored_for(), a slot that
 * was emptied because everybody is monitored by now does not count.
 */
static __always_inline bool may_be_monitored(const struct call *call)
{
	/* Pairs with A in set_everybody(). */
	if (smp_load_acquire(&call->everybody) || current_may_have_entry())
		return true;
	smp_rmb();			/* pairs with B there */
	return READ_ONCE(call->everybody);
}

/* Users can't fill the kernel log. */
static bool user_line_allowed(void)
{
	bool allowed, notice = false;
	unsigned long flags;
	u64 now;

	if (!user_lines)
		return true;
	raw_spin_lock_irqsave(&user_lines_lock, flags);
	now = get_jiffies_64();
	if (now >= user_lines_second + HZ) {
		user_lines_second = now;
		user_lines_logged = 0;
	}
	allowed = user_lines_logged < user_lines;
	if (allowed) {
		user_lines_logged++;
	} else if (now >= user_lines_noticed + USER_LINES_NOTICE) {
		user_lines_noticed = now;
		notice = true;
	}
	raw_spin_unlock_irqrestore(&user_lines_lock, flags);
	if (notice)
		pr_notice(NAME "calls that users monitor are left out of the log: more than %u a second (user_lines=%u)\n",
			  user_lines, user_lines);
	return allowed;
}

static __always_inline bool call_wanted(unsigned int index)
{
	const struct call *call = &calls[abi_first_look(index)];

	/* Pairs with see_watched(). */
	return smp_load_acquire(&call->watched) && may_be_monitored(call);
}

static noinline void log_call(struct pt_regs *regs)
{
	unsigned long arg[6];

	abi_arguments(regs, arg);
	pr_devel(INTERCEPTOR_LOG_LINE "%s\n", current->pid,
		 (unsigned long)syscall_get_nr(current, regs),
		 arg[0], arg[1], arg[2], arg[3], arg[4], arg[5],
		 abi_current()->mark);
}

/* Runs before the original of a call that may be monitored. */
static noinline notrace void before_call(struct pt_regs *regs)
{
	int nr = abi_issued(regs);
	enum audience audience = nr < 0 ? NOBODY : monitored_for(&calls[nr]);

	if (audience == NOBODY)
		return;
	/*
	 * On PREEMPT_RT (6.1) printk() may wait for the console's spinlock, which
	 * counts as sleeping: unloading would not wait for who does so in here
	 * (hook_barrier()). Where preemption is off, it leaves that to others.
	 */
	preempt_disable();
	if (audience == ROOT || user_line_allowed())
		log_call(regs);
	preempt_enable();
}

HOOK_BEFORE(call);

/* ---- Who is who ---- */

/*
 * Not root inside a user namespace: that is somebody else outside of it. Nor
 * root without rights, as in a container: CAP_SYS_ADMIN is asked for as well.
 */
static bool is_root(void)
{
	return uid_eq(current_euid(), GLOBAL_ROOT_UID) &&
	       capable(CAP_SYS_ADMIN);
}

/* Somebody's setuid program isn't theirs: all three owners must agree. */
static bool is_owned_by(const struct cred *cred, kuid_t user)
{
	return uid_eq(user, cred->uid) && uid_eq(user, cred->euid) &&
	       uid_eq(user, cred->suid);
}

/*
 * Nor is a setgid program, or one with capabilities, as ptrace(2) has it. Under
 * RCU.
 */
static bool is_callers_thread(struct task_struct *task)
{
	const struct cred *own = current_cred(), *cred = __task_cred(task);

	if (!is_owned_by(cred, own->euid) || !gid_eq(cred->gid, cred->egid) ||
	    !gid_eq(cred->gid, cred->sgid))
		return false;
	return (cred->user_ns == own->user_ns &&
		cap_issubset(cred->cap_permitted, own->cap_permitted)) ||
	       ns_capable(cred->user_ns, CAP_SYS_PTRACE);
}

/* A process is, with all its threads, or a thread alone. Under RCU. */
static bool is_callers(struct task_struct *task)
{
	struct task_struct *thread;

	if (!thread_group_leader(task))
		return is_callers_thread(task);
	for_each_thread(task, thread)
		if (!is_callers_thread(thread))
			return false;
	return true;
}

static bool may_monitor(struct task_struct *task)
{
	return is_root() || (users && is_callers(task));
}

/* ---- The end of a process, and its becoming somebody else's ---- */

/* Is the entry of a process, or thread, to go? */
typedef bool (*entry_test)(const struct entry *entry, const void *about);

static bool is_of(const struct entry *entry, const void *pid)
{
	return entry->pid == pid;
}

/* The entry's pid may be about to be freed: only one that is found may be used. */
static bool is_of_nobody(const struct entry *entry, const void *nr)
{
	struct pid *pid = find_pid_ns(*(const pid_t *)nr, &init_pid_ns);

	return entry->pid != pid || !pid_has_task(pid, PIDTYPE_PID);
}

/* Mark the entries of that number which pass the test. Takes no lock. */
static void forget(pid_t nr, entry_test test, const void *about)
{
	struct entry *entry;
	unsigned int i;
	int list;

	/* Pairs with the one in record(). */
	smp_mb();
	if (!atomic_read(slot(nr)))
		return;
	rcu_read_lock();
	for_each_set_bit(i, intercepted, ABI_CALLS) {
		for (list = 0; list < ARRAY_SIZE(calls[i].pids); list++) {
			entry = xa_load(&calls[i].pids[list], nr);
			if (entry && test(entry, about))
				entry_mark_gone(entry);
		}
	}
	rcu_read_unlock();
}

/* Runs before the original exit_group(), from which no process returns. */
static void before_exit_group(struct pt_regs *regs)
{
	call_early(regs);
	/* Other threads go on until the signal that ends them gets there. */
	if (thread_group_empty(current))
		forget(current->tgid, is_of, task_tgid(current));
}

static bool exit_group_wanted(unsigned int index)
{
	return true;
}

HOOK_BEFORE(exit_group);

/* However a thread ends, by a signal or by exit(), it comes through here. */
static void COMPAT_ON_EXIT(on_exit)
{
	if (!thread_group_leader(task))
		forget(task->pid, is_of, task_pid(task));
	if (!atomic_read(&task->signal->live))
		forget(task->tgid, is_of, task_tgid(task));
}

/*
 * Nobody bears this pid any more. It may have been listed after on_exit(), as
 * a zombie, and a thread that calls exec() gives its own pid up unexited.
 */
static void on_free(void *data, struct task_struct *task)
{
	forget(task->pid, is_of_nobody, &task->pid);
}

/* Did a user make this entry who might not make it for the program of @bprm? */
static bool is_out_of_reach(const struct entry *entry, const void *bprm)
{
	const struct linux_binprm *program = bprm;

	return !READ_ONCE(entry->by_root) &&
	       (program->secureexec ||
		!is_owned_by(current_cred(), entry->maker));
}

/* A program that has more rights than its caller is not its caller's to watch. */
static void on_exec(void *data, struct task_struct *task, pid_t old_pid,
		    struct linux_binprm *bprm)
{
	forget(task->tgid, is_out_of_reach, bprm);
}

static struct listener listeners[] = {
	{ .name = "sched_process_exit", .probe = on_exit },
	{ .name = "sched_process_free", .probe = on_free },
	{ .name = "sched_process_exec", .probe = on_exec },
};

/* ---- The four commands ---- */

/*
 * The array that counts from now on is empty, and the other becomes so.
 *
 * A: it was emptied before the switch, for whoever finds the switch thrown.
 *    Pairs with A in monitored_for().
 * B: the other is cleared after the switch, for whoever finds it cleared, or
 *    some of it. Pairs with B in monitored_for().
 */
static void set_everybody(struct call *call, bool everybody)
{
	lockdep_assert_held(&calls_lock);
	smp_store_release(&call->everybody, everybody);	/* A */
	smp_wmb();					/* B */
	entries_clear(&call->pids[!everybody]);
}

/* A call where nobody is monitored looks no further. */
static void see_watched(struct call *call)
{
	lockdep_assert_held(&calls_lock);
	/* Entries and the switch come first: pairs with call_wanted(). */
	smp_store_release(&call->watched, call->everybody ||
			  !xa_empty(&call->pids[false]));
}

/* Take out the entries of processes that have ended. */
static void bury(struct work_struct *work)
{
	unsigned int i;

	mutex_lock(&calls_lock);
	entries_bury();
	for_each_set_bit(i, intercepted, ABI_CALLS)
		see_watched(&calls[i]);
	mutex_unlock(&calls_lock);
}

static void close_hooks(struct hook *const hooks[ABIS])
{
	int i;

	for (i = 0; i < ABIS; i++)
		if (hooks[i])
			hook_close(hooks[i]);
}

/*
 * Give a system call back, by each ABI.
 *
 * Return: 0, -ENOMEM with nothing changed, or what keeps one of the hooks.
 */
static int give_back(struct hook *hooks[ABIS], int syscall)
{
	int i, failed, err = 0;

	for (i = 0; i < ABIS; i++) {
		if (hooks[i] && hook_open(hooks[i])) {
			close_hooks(hooks);
			return -ENOMEM;
		}
	}
	for (i = 0; i < ABIS; i++) {
		if (!hooks[i])
			continue;
		failed = hook_remove(hooks[i], &abis[i],
				     abi_number(&abis[i], syscall));
		hook_close(hooks[i]);
		if (failed)
			err = failed;
		else
			hooks[i] = NULL;
	}
	return err;
}

/*
 * Put @action in front of a system call, by each ABI that it has. If that
 * can't be, log @failed and the reason.
 */
static int take(struct hook *hooks[ABIS], int syscall,
		const struct hook_action *action, const char *failed)
{
	int i, nr, err;

	for (i = 0; i < ABIS; i++) {
		nr = abi_number(&abis[i], syscall);
		if (nr < 0)
			continue;
		err = hook_install(&abis[i], nr, action, direct, &hooks[i]);
		if (err) {
			pr_err(NAME "%s: can't hook %s: %s (%pe)\n",
			       failed, abi_handler(&abis[i], nr),
			       hook_why(err), ERR_PTR(err));
			give_back(hooks, syscall);
			return err;
		}
	}
	close_hooks(hooks);
	return 0;
}

static bool is_taken(struct hook *const hooks[ABIS])
{
	int i;

	for (i = 0; i < ABIS; i++)
		if (hooks[i])
			return true;
	return false;
}

static void give_back_later(struct work_struct *work);
static DECLARE_DELAYED_WORK(giving_back, give_back_later);

static void leave(struct call *call)
{
	call->leaving = true;
	schedule_delayed_work(&giving_back, HZ);
}

static int intercept(int syscall)
{
	int err;

	if (is_taken(calls[syscall].hooks))
		return -EBUSY;
	err = take(calls[syscall].hooks, syscall, &call_action,
		   "not intercepted");
	if (is_taken(calls[syscall].hooks))
		set_bit(syscall, intercepted);
	if (err && is_taken(calls[syscall].hooks))
		leave(&calls[syscall]);
	return err;
}

static void clear(struct call *call)
{
	set_everybody(call, false);
	entries_clear(&call->pids[false]);
	see_watched(call);
}

/*
 * Where there is no memory, nothing is changed. Otherwise nobody is monitored
 * from here on, whether the call can be given back now or not.
 */
static int release(int syscall)
{
	struct call *call = &calls[syscall];
	int err;

	if (!is_taken(call->hooks))
		return -EINVAL;
	err = give_back(call->hooks, syscall);
	if (err == -ENOMEM)
		return err;
	clear(call);
	if (err) {
		leave(call);
		return err;
	}
	call->leaving = false;
	clear_bit(syscall, intercepted);
	return 0;
}

/*
 * A released call that could not be given back is tried again each second, so
 * that the module can be unloaded once whatever kept it is gone. Until then
 * nobody is monitored.
 */
static void give_back_later(struct work_struct *work)
{
	unsigned int i;
	bool again = false;

	mutex_lock(&calls_lock);
	for_each_set_bit(i, intercepted, ABI_CALLS) {
		if (!calls[i].leaving)
			continue;
		if (give_back(calls[i].hooks, i)) {
			again = true;
			continue;
		}
		calls[i].leaving = false;
		clear_bit(i, intercepted);
	}
	mutex_unlock(&calls_lock);
	if (again)
		schedule_delayed_work(&giving_back, HZ);
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

/*
 * Add an entry for @pid, unless it has died, or become somebody else's, since
 * it was looked for: then nobody would take it out.
 */
static int record(struct call *call, struct pid *pid)
{
	struct xarray *pids = &call->pids[call->everybody];
	struct task_struct *task;
	bool by_root = is_root();
	int err;

	if (!by_root && !entry_find(pids, pid_nr(pid), pid) &&
	    entries_of(current_euid(), 0) >= user_entries) {
		pr_notice_ratelimited(NAME "not monitored: user %u has %u processes recorded (user_entries=%u)\n",
				      from_kuid(&init_user_ns, current_euid()),
				      user_entries, user_entries);
		return -ENOMEM;
	}
	err = entry_add(pids, pid, current_euid(), by_root);
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
		entry_remove(pids, pid);
	return err;
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

/* The call of that number by that ABI, -1: none that can be intercepted. */
static int interceptable(const struct syscall_abi *abi, int syscall)
{
	int nr = abi_call(abi, syscall);

	return nr == MY_CUSTOM_SYSCALL ? -1 : nr;
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
	if (!is_taken(call->hooks) || call->leaving)
		err = -EINVAL;
	else if (cmd == REQUEST_START_MONITORING)
		err = start_monitoring(call, pid);
	else
		err = stop_monitoring(call, pid);
	see_watched(call);
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

/* Numbers are those of the ABI by which the caller came. */
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

/* Not the kernel's own restart of an interrupted sleep: see restart.h. */
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
	flush_work(&entries_burial);	/* of who died before this command */
	abi_arguments(regs, arg);
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
	flush_work(&entries_burial);
	mutex_lock(&calls_lock);
	return *pos < ABI_CALLS ? &calls[*pos] : NULL;
}

static void *status_next(struct seq_file *file, void *call, loff_t *pos)
{
	return ++*pos < ABI_CALLS ? &calls[*pos] : NULL;
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

static bool is_live(struct hook *const hooks[ABIS])
{
	int i;

	for (i = 0; i < ABIS; i++)
		if (hooks[i] && !hook_is_live(hooks[i]))
			return false;
	return true;
}

/*
 * "39 listed 1207 1311": the number, the mode, the pids that the reader sees.
 * A call that only the 32-bit ABI has is "i386:192", by its number there. "off"
 * at the end: somebody has switched off what the call is intercepted by.
 */
static int status_show(struct seq_file *file, void *data)
{
	struct call *call = data;
	struct xarray *pids = &call->pids[call->everybody];
	struct entry *entry;
	unsigned long nr;
	pid_t seen;

	if (!is_taken(call->hooks))
		return 0;
	if (call - calls < NR_syscalls)
		seq_printf(file, "%td", call - calls);
	else
		seq_printf(file, "i386:%td", call - calls - NR_syscalls);
	seq_printf(file, " %s", status_mode(call));
	xa_for_each(pids, nr, entry) {
		seen = pid_vnr(entry->pid);
		if (seen && !atomic_read(&entry->gone))
			seq_printf(file, " %d", seen);
	}
	seq_puts(file, is_live(call->hooks) ? "\n" : " off\n");
	return 0;
}

static const struct seq_operations status_ops = {
	.start = status_start,
	.next = status_next,
	.stop = status_stop,
	.show = status_show,
};

/* ---- Load and unload ---- */

#define GIVE_BACK_WAIT	(HZ / 10)
#define GIVE_BACK_TOLD	100	/* tries, 10 s */

static struct hook *exit_group_hooks[ABIS], *my_syscall_hooks[ABIS];
static struct proc_dir_entry *status;

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
			return err;
		}
	}
	return 0;
}

/* As module_init() and module_exit() call it, without the lock. */
static int take_first(struct hook *hooks[ABIS], int syscall,
		      const struct hook_action *action)
{
	int err;

	mutex_lock(&calls_lock);
	err = take(hooks, syscall, action, "not loaded");
	mutex_unlock(&calls_lock);
	return err;
}

/*
 * module_exit() can't fail, and while somebody else still sends calls to this
 * module it must not return: wait for that to end, and say so.
 */
static void give_back_at_last(struct hook *hooks[ABIS], int syscall)
{
	int err, tries;

	for (tries = 0;; tries++) {
		mutex_lock(&calls_lock);
		err = give_back(hooks, syscall);
		mutex_unlock(&calls_lock);
		if (!err)
			return;
		if (tries % GIVE_BACK_TOLD == 0)
			pr_warn(NAME "not unloaded: system call %d can't be given back yet (%pe)\n",
				syscall, ERR_PTR(err));
		schedule_timeout_idle(GIVE_BACK_WAIT);
	}
}

/* Likewise with what the hooks were watched by. */
static void unwatch_at_last(void)
{
	int err, tries;

	for (tries = 0; (err = hooks_unwatch()); tries++) {
		if (tries % GIVE_BACK_TOLD == 0)
			pr_warn(NAME "not unloaded: ftrace and kprobes still know this module, and ftrace has given up (%pe): only a reboot helps\n",
				ERR_PTR(err));
		schedule_timeout_idle(GIVE_BACK_WAIT);
	}
}

/*
 * The end of a module that is loaded, or that could not be loaded to the end.
 * No task may be left in it, nor come back to it. First no command can begin;
 * those under way end; all is released; then the last instructions of whoever
 * was on the way out are waited for.
 */
static void shut_down(void)
{
	int i;

	WRITE_ONCE(commands_taken, false);
	give_back_at_last(my_syscall_hooks, MY_CUSTOM_SYSCALL);
	hook_barrier();
	synchronize_srcu(&commands);
	cancel_delayed_work_sync(&giving_back);

	mutex_lock(&calls_lock);
	hooks_retire();
	mutex_unlock(&calls_lock);
	for_each_set_bit(i, intercepted, ABI_CALLS) {
		mutex_lock(&calls_lock);
		clear(&calls[i]);
		mutex_unlock(&calls_lock);
		give_back_at_last(calls[i].hooks, i);
	}

	give_back_at_last(exit_group_hooks, __NR_exit_group);
	if (status)
		proc_remove(status);
	stop_listening();
	hook_barrier();
	flush_work(&entries_burial);	/* scheduled from a hook, or a tracepoint */
	unwatch_at_last();
	hooks_free();
	xa_destroy(&entries_made);
	cleanup_srcu_struct(&commands);
}

static int __init start_up(void)
{
	int err;

	err = listen();
	if (err)
		return err;
	status = proc_create_seq(STATUS_NAME, 0400, NULL, &status_ops);
	if (!status)
		return -ENOMEM;
	err = take_first(exit_group_hooks, __NR_exit_group, &exit_group_action);
	if (err)
		return err;
	return take_first(my_syscall_hooks, MY_CUSTOM_SYSCALL,
			  &restart_syscall_action);
}

static int __init interceptor_init(void)
{
	int i, err;

	for (i = 0; i < ABI_CALLS; i++) {
		entries_init(&calls[i].pids[false]);
		entries_init(&calls[i].pids[true]);
	}
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
	pr_info(NAME "loaded: system call %d takes commands, hooked by %s\n",
		MY_CUSTOM_SYSCALL, hook_means(my_syscall_hooks[0]));
	return 0;
}

static void __exit interceptor_exit(void)
{
	shut_down();
	pr_info(NAME "unloaded\n");
}

module_init(interceptor_init);
module_exit(interceptor_exit);

MODULE_DESCRIPTION("Intercepts system calls and logs those of monitored processes");
MODULE_AUTHOR("The interceptor authors");
MODULE_LICENSE("GPL");
MODULE_VERSION("1.0.0");
