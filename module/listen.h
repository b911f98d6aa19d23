/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Functions that the kernel calls at its tracepoints. These are not exported by
 * name to modules, but may be looked through.
 */
#ifndef INTERCEPTOR_LISTEN_H
#define INTERCEPTOR_LISTEN_H

#include <linux/string.h>
#include <linux/tracepoint.h>

struct listener {
	const char *name;
	void *probe;
	struct tracepoint *point;	/* NULL: not listening */
};

static void listener_find(struct tracepoint *point, void *data)
{
	struct listener *listener = data;

	if (!strcmp(point->name, listener->name))
		listener->point = point;
}

static int listener_start(struct listener *listener)
{
	int err = -ENODEV;

	for_each_kernel_tracepoint(listener_find, listener);
	if (listener->point)
		err = tracepoint_probe_register(listener->point,
						listener->probe, NULL);
	if (err)
		listener->point = NULL;
	return err;
}

static void listener_stop(struct listener *listener)
{
	if (listener->point)
		tracepoint_probe_unregister(listener->point, listener->probe,
					    NULL);
	listener->point = NULL;
}

#endif /* INTERCEPTOR_LISTEN_H */
