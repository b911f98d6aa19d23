/* SPDX-License-Identifier: GPL-2.0 */
#ifndef INTERCEPTOR_STATUS_H
#define INTERCEPTOR_STATUS_H

#include <linux/init.h>

/**
 * status_create() - Create the status file, /proc/interceptor.
 *
 * Return: 0, or -ENOMEM.
 */
int __init status_create(void);

/* Remove the status file, if it was created. Nobody reads it afterwards. */
void status_remove(void);

#endif /* INTERCEPTOR_STATUS_H */
