// SPDX-License-Identifier: GPL-2.0
/* A module that uses what another module of the same folder exports. */
#include <linux/module.h>

#include "tryout.h"

static int __init uses_tryout_init(void)
{
	pr_info("uses_tryout: the answer is %d\n", tryout_answer());
	return 0;
}

static void __exit uses_tryout_exit(void)
{
}

module_init(uses_tryout_init);
module_exit(uses_tryout_exit);

MODULE_DESCRIPTION("A module that uses another");
MODULE_LICENSE("GPL");
