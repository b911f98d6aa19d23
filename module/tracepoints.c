// SPDX-License-Identifier: GPL-2.0
/*
 * Functions that the kernel calls at its tracepoints. These are not exported by
 * name to modules, but may be looked through.
 */
#include <linux/string.h>
#include <linux/tracepoint.h>

#include "tracepoints.h"

static void probe_find(struct tracepoint *point, void *data)
{
	struct probe *probe = data;

	if (!strcmp(point->name, probe->name))
		probe->point = point;
}

int probe_register(struct probe *probe)
{
	int err = -ENODEV;

	for_each_kernel_tracepoint(probe_find, probe);
	if (probe->point)
		err = tracepoint_probe_register(probe->point, probe->function, NULL);
	if (err)
		probe->point = NULL;
	return err;
}

void probe_unregister(struct probe *probe)
{
	if (probe->point)
		tracepoint_probe_unregister(probe->point, probe->function, NULL);
	probe->point = NULL;
}
