/* SPDX-License-Identifier: GPL-2.0 */
int tryout_answer(void);
