// SPDX-License-Identifier: GPL-2.0
/*
 * The handler method: the one function that serves a number is hooked at its
 * entry, __ia32_sys_mkdir() for example. What isn't hooked runs unchanged code.
 *
 * The means is an ftrace direct call: the nop at the entry of the handler
 * becomes a call of a stub. Where the kernel can't do that (a handler compiled
 * without ftrace, or one that somebody else has taken, a BPF trampoline say)
 * it is a kprobe, which costs more and does the same.
 *
 * calls_lock protects all that is here, except in sentinels_unregister(), which
 * runs at unload when no command is left.
 */
#include <linux/ftrace.h>
#include <linux/kprobes.h>
#include <linux/uaccess.h>

#include "compat.h"
#include "handler.h"
#include "lock.h"

/* ---- The code at the entry of a handler ---- */

#ifdef CONFIG_X86

#define OPCODE_CALL	0xe8	/* of the stub, or of ftrace for several */
#define OPCODE_JUMP	0xe9	/* of an optimised kprobe */
#define OPCODE_INT3	0xcc	/* of a kprobe */

/* Has somebody hooked the handler? */
static bool handler_is_patched(const struct handler_hook *hook)
{
	u8 opcode = 0;

	copy_from_kernel_nofault(&opcode, (void *)hook->address, sizeof(opcode));
	return opcode == OPCODE_CALL || opcode == OPCODE_JUMP ||
	       opcode == OPCODE_INT3;
}

/* Does the handler call the stub, and not ftrace, for several? */
static bool handler_calls_stub(const struct handler_hook *hook)
{
	u8 code[5] = { 0 };
	s32 offset;

	copy_from_kernel_nofault(code, (void *)hook->address, sizeof(code));
	memcpy(&offset, code + 1, sizeof(offset));
	return code[0] == OPCODE_CALL &&
	       hook->address + sizeof(code) + offset == (unsigned long)hook->stub;
}

#else /* CONFIG_ARM64 */

#define INSN_BRK	0xd4200000	/* of a kprobe */
#define INSN_BRK_MASK	0xffe0001f

static bool handler_is_patched(const struct handler_hook *hook)
{
	u32 code = 0;

	copy_from_kernel_nofault(&code, (void *)hook->address, sizeof(code));
	return (code & INSN_BRK_MASK) == INSN_BRK;
}

static bool handler_calls_stub(const struct handler_hook *hook)
{
	return false;
}

#endif

/* ---- Whether ftrace and kprobes are at work ---- */

/*
 * Both can be switched off by others, and then accept hooks that do nothing.
 * So each has a hook here as well, a sentinel, at a function that is called to
 * see whether the hooks run.
 *
 * The sentinel of ftrace also keeps the sysctl ftrace_enabled at 1. A direct call
 * can't do that (its flags are set by registering it), nor can a kprobe.
 */
static bool ftrace_ran, kprobe_ran;

static noinline void sentinel_function(void)
{
	barrier();	/* is not optimised away */
}

static void ftrace_sentinel_ran(unsigned long ip, unsigned long parent_ip,
				struct ftrace_ops *ops,
				struct compat_ftrace_regs *regs)
{
	ftrace_ran = true;
}

static int kprobe_sentinel_ran(struct kprobe *probe, struct pt_regs *regs)
{
	kprobe_ran = true;
	return 0;
}

static struct ftrace_ops ftrace_sentinel = {
	.func = ftrace_sentinel_ran,
	.flags = FTRACE_OPS_FL_PERMANENT,
};

static struct ftrace_ops ftrace_query;	/* is never registered */
static struct kprobe kprobe_sentinel;

/* Run the function; what hooks it has are seen in ftrace_ran and kprobe_ran. */
static void sentinels_run(void)
{
	WRITE_ONCE(ftrace_ran, false);
	WRITE_ONCE(kprobe_ran, false);
	sentinel_function();
}

static bool ftrace_sentinel_is_on, kprobe_sentinel_is_on;

/*
 * Return: 0, -ENOMEM, or -ENODEV if ftrace is off: on 6.1, what is registered
 * and unregistered meanwhile has ftrace give up later on. Any other failure is
 * no error here: the hook that is to be armed will be found dead.
 */
static int sentinels_register(void)
{
	unsigned long address = (unsigned long)sentinel_function;
	int kept = 0, probed = 0;

	if (!ftrace_sentinel_is_on && IS_ENABLED(CONFIG_KPROBES_ON_FTRACE)) {
		kept = ftrace_set_filter_ip(&ftrace_sentinel, address, 0, 1) ?:
		       register_ftrace_function(&ftrace_sentinel);
		ftrace_sentinel_is_on = !kept;
		if (kept == -EBUSY)	/* so it refuses a permanent ops */
			return -ENODEV;
	}
	if (!kprobe_sentinel_is_on) {
		kprobe_sentinel = (struct kprobe) {
			.addr = (kprobe_opcode_t *)address,
			.pre_handler = kprobe_sentinel_ran,
		};
		probed = register_kprobe(&kprobe_sentinel);
		kprobe_sentinel_is_on = !probed;
	}
	return kept == -ENOMEM || probed == -ENOMEM ? -ENOMEM : 0;
}

/*
 * ftrace gives up for good when it finds that the kernel's code is not what it
 * wrote (ftrace_kill()). From then on it leaves all code as it is, and each of its
 * functions says so, even where nothing is registered.
 */
bool handler_ftrace_is_dead(void)
{
	return IS_ENABLED(CONFIG_KPROBES_ON_FTRACE) &&
	       ftrace_set_filter_ip(&ftrace_query,
				    (unsigned long)sentinel_function, 0, 1) ==
	       -ENODEV;
}

/*
 * Find out whether unregister_kprobe() has disarmed a probe. If it could not, it
 * leaves the probe registered, and clears its address, which is put back here.
 */
static int handler_probe_result(struct kprobe *probe, unsigned long address)
{
	if (probe->addr)
		return 0;
	probe->addr = (kprobe_opcode_t *)address;
	return -ENODEV;
}

int sentinels_unregister(void)
{
	int err;

	if ((kprobe_sentinel_is_on || ftrace_sentinel_is_on) && handler_ftrace_is_dead())
		return -ENODEV;
	if (kprobe_sentinel_is_on) {
		unregister_kprobe(&kprobe_sentinel);
		err = handler_probe_result(&kprobe_sentinel,
					   (unsigned long)sentinel_function);
		if (err)
			return err;
		kprobe_sentinel_is_on = false;
	}
	if (ftrace_sentinel_is_on) {
		err = unregister_ftrace_function(&ftrace_sentinel);
		if (err)
			return err;
		ftrace_sentinel_is_on = false;
	}
	/* Once: it leaves the pointer to what it has freed (6.1). */
	compat_free_filter(&ftrace_sentinel);
	compat_free_filter(&ftrace_query);
	return 0;
}

bool handler_is_live(const struct handler_hook *hook)
{
	lockdep_assert_held(&calls_lock);
	sentinels_run();	/* handler_why_dead() reads the results, too */
	if (!handler_is_patched(hook))
		return false;
	if (hook->direct)
		return handler_calls_stub(hook) || READ_ONCE(ftrace_ran);
	return READ_ONCE(kprobe_ran);
}

const char *handler_why_dead(void)
{
	if (handler_ftrace_is_dead())
		return "ftrace has given up: only a reboot helps";
	if (IS_ENABLED(CONFIG_KPROBES_ON_FTRACE) && !READ_ONCE(ftrace_ran))
		return "ftrace is off: sysctl kernel.ftrace_enabled=1";
	if (!READ_ONCE(kprobe_ran))
		return "kprobes are off: echo 1 > /sys/kernel/debug/kprobes/enabled";
	return "it was registered, but the kernel has not patched its code";
}

/* ---- Arm and disarm ---- */

/*
 * A kprobe's handler may send the CPU elsewhere only if the probe has a post
 * handler, too: that makes ftrace keep other redirections (live patches) away
 * (FTRACE_OPS_FL_IPMODIFY, commit 0bc11ed5ab60 in 5.6), and the probe from
 * being optimised into a jump.
 */
static void handler_post(struct kprobe *probe, struct pt_regs *regs,
			 unsigned long flags)
{
}

static int handler_register_probe(struct handler_hook *hook,
				  kprobe_post_handler_t post)
{
	hook->probe = (struct kprobe) {
		.addr = (kprobe_opcode_t *)hook->address,
		.pre_handler = hook->run,
		.post_handler = post,
	};
	return register_kprobe(&hook->probe);
}

/*
 * The probes of one address share what ftrace calls for them. The kernel
 * chooses it by the first probe, and removes it by the flags of all of them when
 * the last one goes (__disarm_kprobe_ftrace()): if the first has no post handler and
 * another has, it warns, and leaves the function hooked for good. So a probe
 * that is not the first has none here. Such a probe is not optimised anyway,
 * as it is on ftrace.
 */
static int handler_arm_probe(struct handler_hook *hook)
{
	int err = handler_register_probe(hook, NULL);

	if (err || !hook->redirects)
		return err;
	if (hook->probe.flags & KPROBE_FLAG_FTRACE &&
	    !list_empty(&hook->probe.list))
		return 0;
	unregister_kprobe(&hook->probe);
	return handler_register_probe(hook, handler_post);
}

/*
 * Where somebody else traces the handler as well (the function tracer, a
 * kprobe), the handler calls ftrace, which calls the functions of all in turn.
 * On amd64 that of a direct call makes the stub run. On i386 it does nothing:
 * ftrace_regs_caller() there ignores arch_ftrace_set_direct_caller() (6.1). So
 * each hook has a function of its own there.
 */
static void __maybe_unused handler_shared(unsigned long ip,
					  unsigned long parent_ip,
					  struct ftrace_ops *ops,
					  struct compat_ftrace_regs *regs)
{
	struct handler_hook *hook = container_of(ops, struct handler_hook, ops);

	hook->run(&hook->probe, compat_pt_regs(regs));
}

static int handler_arm_direct(struct handler_hook *hook)
{
	int err;

	/*
	 * A stub returns to where ftrace sends it, which may be elsewhere than
	 * into the handler: redirections by others do no harm.
	 */
	compat_bear_redirection(&hook->ops);
	/* By address: where two names share one, ftrace knows only one. */
	err = ftrace_set_filter_ip(&hook->ops, hook->address, 0, 1);
	if (err)
		return err;
	err = compat_register_direct(&hook->ops, (unsigned long)hook->stub);
	if (err) {
		/* They stay set (6.1), and then it would be refused for good. */
		hook->ops.func = NULL;
		hook->ops.trampoline = 0;
		return err;
	}
#ifdef CONFIG_X86_32
	/*
	 * Registering refuses ops that have a function, so that it is set here.
	 * ftrace reads it where it calls it, and nowhere else writes it while
	 * the ops is registered: whichever it finds may be called.
	 */
	WRITE_ONCE(hook->ops.func, handler_shared);
#endif
	return 0;
}

/*
 * Unregistering an ops that is not part of the kernel's own data waits until
 * nobody can be on the way to it (FTRACE_OPS_FL_DYNAMIC): some 100 ms, and a
 * minute for all numbers one after the other. To unload, all are retired
 * first, then hook_barrier() waits once for all of them, then each is disarmed.
 *
 * A retired ops is skipped where ftrace goes through its list
 * (FTRACE_OPS_FL_STUB), as unregistering clears its function at once. Nobody
 * but its owner writes to the flags of a registered ops: ftrace does so in
 * calls that are about it (5.16 to 7.3), and calls_lock is held here.
 */
void handler_retire(struct handler_hook *hook)
{
	lockdep_assert_held(&calls_lock);
	hook->retired = true;
	if (hook->direct)
		WRITE_ONCE(hook->ops.flags,
			   hook->ops.flags | FTRACE_OPS_FL_STUB);
}

static int handler_disarm_direct(struct handler_hook *hook)
{
	int err;

	if (hook->retired)	/* there is nobody left to wait for */
		WRITE_ONCE(hook->ops.flags,
			   hook->ops.flags & ~FTRACE_OPS_FL_DYNAMIC);
	err = compat_unregister_direct(&hook->ops, (unsigned long)hook->stub);
	if (err)
		return err;
	return handler_calls_stub(hook) ? -EBUSY : 0;
}

static int handler_disarm_probe(struct handler_hook *hook)
{
	if (!hook->retired)	/* else it was unregistered together with others */
		unregister_kprobe(&hook->probe);
	hook->retired = false;
	return handler_probe_result(&hook->probe, hook->address);
}

static bool handler_needs_ftrace(const struct handler_hook *hook)
{
	return hook->direct || hook->probe.flags & KPROBE_FLAG_FTRACE;
}

int handler_disarm(struct handler_hook *hook)
{
	lockdep_assert_held(&calls_lock);
	if (handler_needs_ftrace(hook) && handler_ftrace_is_dead())
		return -ENODEV;
	return hook->direct ? handler_disarm_direct(hook) :
	       handler_disarm_probe(hook);
}

/*
 * ftrace and the kprobes that are built on it may register and do nothing where
 * somebody has switched them off: believe what is seen, not the return value.
 */
int handler_arm(struct handler_hook *hook, bool direct)
{
	int err;

	lockdep_assert_held(&calls_lock);
	if (handler_ftrace_is_dead())
		return -ENODEV;
	err = sentinels_register();
	if (err)
		return err;
	err = direct && COMPAT_HAS_DIRECT ? handler_arm_direct(hook) : -EOPNOTSUPP;
	hook->direct = !err;
	if (err && err != -ENOMEM)
		err = handler_arm_probe(hook);
	if (err)
		return err;
	if (handler_is_live(hook))
		return 0;
	return handler_disarm(hook) ? -EUCLEAN : -ENODEV;
}
