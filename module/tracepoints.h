/* SPDX-License-Identifier: GPL-2.0 */
#ifndef INTERCEPTOR_TRACEPOINTS_H
#define INTERCEPTOR_TRACEPOINTS_H

struct tracepoint;

/* A function that the kernel calls at one of its tracepoints. */
struct tracepoint_callback {
	const char *name;		/* of the tracepoint */
	void *function;
	struct tracepoint *point;	/* NULL: not registered */
};

/**
 * callback_register() - Have a function called at a tracepoint.
 * @callback: the function and the tracepoint's name.
 *
 * Return: 0, -ENODEV if the kernel has no such tracepoint, or another error.
 */
int callback_register(struct tracepoint_callback *callback);

/* Its function may still run until tracepoint_synchronize_unregister() returns. */
void callback_unregister(struct tracepoint_callback *callback);

#endif /* INTERCEPTOR_TRACEPOINTS_H */
