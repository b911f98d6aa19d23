/* SPDX-License-Identifier: GPL-2.0 */
#ifndef INTERCEPTOR_RING_H
#define INTERCEPTOR_RING_H

#include <linux/ptrace.h>

/*
 * A ring of records for each CPU, which readers map: interceptor.h has its layout.
 *
 * A CPU overwrites its oldest records, whoever has read them or not: readers see
 * by the head how many they have missed. An open or mapped device keeps the module
 * from being unloaded, and so its memory from being freed.
 *
 * The kernel's own buffers would cost more, or tear records: relay's readers take
 * what is reserved but not yet written, and debugfs lets nobody map them;
 * ring_buffer_lock_reserve() takes twice as many instructions as all of this.
 */

/**
 * ring_create() - Allocate the rings, and create the device, unless they are there.
 * @records: of each CPU: a power of two.
 *
 * Return: 0 or an error.
 */
int ring_create(unsigned int records);

/* Free the rings. No hook writes to them any more. */
void ring_destroy(void);

/**
 * ring_write() - Record the system call that the current task has issued.
 * @regs: its registers, before the call is carried out.
 *
 * Needs no lock: a call is not issued from an interrupt.
 */
void ring_write(struct pt_regs *regs);

#endif /* INTERCEPTOR_RING_H */
