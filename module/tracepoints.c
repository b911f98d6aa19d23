// SPDX-License-Identifier: GPL-2.0
/*
 * Functions that the kernel calls at its tracepoints. Modules can't link to
 * tracepoints by name, but they can iterate over them.
 */
#include <linux/string.h>
#include <linux/tracepoint.h>

#include "tracepoints.h"

static void callback_find(struct tracepoint *point, void *data)
{
	struct tracepoint_callback *callback = data;

	if (!strcmp(point->name, callback->name))
		callback->point = point;
}

int callback_register(struct tracepoint_callback *callback)
{
	int err = -ENODEV;

	for_each_kernel_tracepoint(callback_find, callback);
	if (callback->point)
		err = tracepoint_probe_register(callback->point, callback->function, NULL);
	if (err)
		callback->point = NULL;
	return err;
}

void callback_unregister(struct tracepoint_callback *callback)
{
	if (callback->point)
		tracepoint_probe_unregister(callback->point, callback->function, NULL);
	callback->point = NULL;
}
