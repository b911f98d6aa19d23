/* SPDX-License-Identifier: GPL-2.0 */
#ifndef INTERCEPTOR_HANDLER_H
#define INTERCEPTOR_HANDLER_H

#include <linux/ftrace.h>
#include <linux/kprobes.h>

/* What is called at the entry of a handler, in the form that each means needs. */
struct handler_hook {
	unsigned long address;		/* of the code that is hooked */
	void (*stub)(void);		/* target of the direct call */
	kprobe_pre_handler_t run;	/* for all else */
	bool redirects;			/* run() may send the CPU elsewhere */
	bool direct;			/* by ops, else by probe */
	bool retired;			/* by handler_retire() */
	struct ftrace_ops ops;
	struct kprobe probe;
};

/**
 * handler_arm() - Hook a handler.
 * @hook: what is called, and where.
 * @direct: by an ftrace direct call if the kernel can; else by a kprobe.
 *
 * Return: 0, -ENODEV if ftrace or kprobes are off, see handler_why_dead(),
 * -EUCLEAN if on top of that the hook can't be taken back and stays registered,
 * or the error that kept it from being registered.
 */
int handler_arm(struct handler_hook *hook, bool direct);

/**
 * handler_disarm() - Take a hook back.
 * @hook: which one.
 *
 * Return: 0, or the error that keeps the handler calling: the hook must stay as
 * it is.
 */
int handler_disarm(struct handler_hook *hook);

/* Prepare a hook for being disarmed together with others: it may miss calls from now on. */
void handler_retire(struct handler_hook *hook);

/* Does the hook run when the handler is called? calls_lock is held. */
bool handler_is_live(const struct handler_hook *hook);

/* Why a hook was found not to run: what is switched off. */
const char *handler_why_dead(void);

/**
 * sentinels_unregister() - Remove the hooks by which handler_is_live() finds out.
 *
 * All other hooks are disarmed.
 *
 * Return: 0, or the error that keeps one of them registered: then the module must
 * not be unloaded.
 */
int sentinels_unregister(void);

/* Has ftrace disabled itself until the next reboot, by ftrace_kill()? */
bool handler_ftrace_is_dead(void);

#endif /* INTERCEPTOR_HANDLER_H */
