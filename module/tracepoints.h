/* SPDX-License-Identifier: GPL-2.0 */
#ifndef INTERCEPTOR_TRACEPOINTS_H
#define INTERCEPTOR_TRACEPOINTS_H

struct tracepoint;

/* A function that the kernel calls at one of its tracepoints. */
struct probe {
	const char *name;		/* of the tracepoint */
	void *function;
	struct tracepoint *point;	/* NULL: not registered */
};

/**
 * probe_register() - Have a function called at a tracepoint.
 * @probe: the function and the tracepoint's name.
 *
 * Return: 0, -ENODEV if the kernel has no such tracepoint, or another error.
 */
int probe_register(struct probe *probe);

/* Its function may still run until tracepoint_synchronize_unregister() returns. */
void probe_unregister(struct probe *probe);

#endif /* INTERCEPTOR_TRACEPOINTS_H */
