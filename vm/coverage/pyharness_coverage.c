// SPDX-License-Identifier: GPL-2.0
/*
 * Keeps the coverage counters of modules.
 *
 * GCC puts a module's counters into its data. When the module is unloaded, or its init function has
 * failed, the kernel calls the module notifiers after the module's last function has run and before
 * it frees the data: a copy is made then. /proc/pyharness_coverage has these copies, and the data
 * of the modules that are loaded: for each a struct kept_head, its struct kept_region, and the
 * bytes of these. A copy is there until it has been read once.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/fs.h>
#include <linux/kmemleak.h>
#include <linux/list.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/proc_fs.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/version.h>
#include <linux/vmalloc.h>

#define KEPT_MAGIC 0x70796376
#define MAX_REGIONS 4

struct kept_head {
	u32 magic;
	u32 number;	/* counts the modules that were loaded */
	u32 loaded;	/* 1: the module may count on */
	u32 regions;
	char name[64];
	char guest[32];	/* the parameter of that name */
};

struct kept_region {
	u64 address;
	u64 size;
};

/* A module that is loaded, or a copy of the data of one that was. Protected by kept_lock. */
struct kept {
	struct list_head list;
	struct module *module;	/* NULL: data has the copy */
	struct kept_head head;
	struct kept_region region[MAX_REGIONS];
	void *data;
	size_t size;
};

static LIST_HEAD(kept_modules);
static DEFINE_MUTEX(kept_lock);
static u32 kept_number;

static char names[3072]; /* less than a page, as sysfs shows it */
module_param_string(names, names, sizeof(names), 0600);
MODULE_PARM_DESC(names, "the modules to keep counters of, with a comma behind each");
static char guest[sizeof_field(struct kept_head, guest)];
module_param_string(guest, guest, sizeof(guest), 0400);
MODULE_PARM_DESC(guest, "a name for this guest, which each copy has");

static bool is_named(const struct module *module)
{
	const char *at = names;
	size_t length = strlen(module->name);

	while ((at = strstr(at, module->name))) {
		if ((at == names || at[-1] == ',') && at[length] == ',')
			return true;
		at += length;
	}
	return false;
}

static void add_region(struct kept *kept, void *base, size_t size)
{
	if (!size)
		return;
	kept->region[kept->head.regions].address = (unsigned long)base;
	kept->region[kept->head.regions++].size = size;
	kept->size += size;
}

/* Everything but code, and what is freed after init. */
static void find_regions(struct kept *kept, const struct module *module)
{
	kept->head.regions = 0;
	kept->size = 0;
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 4, 0) /* ac3b43283923 */
	add_region(kept, module->mem[MOD_DATA].base, module->mem[MOD_DATA].size);
	add_region(kept, module->mem[MOD_RODATA].base, module->mem[MOD_RODATA].size);
	add_region(kept, module->mem[MOD_RO_AFTER_INIT].base,
		   module->mem[MOD_RO_AFTER_INIT].size);
#else
	add_region(kept, module->core_layout.base + module->core_layout.text_size,
		   module->core_layout.size - module->core_layout.text_size);
#endif
}

/* By bytes: KASAN checks the kernel's memcpy(), and would report what is between variables. */
static void copy_regions(char *to, const struct kept *kept)
{
	const char *from;
	u64 byte;
	u32 at;

	for (at = 0; at < kept->head.regions; at++) {
		from = (const char *)(unsigned long)kept->region[at].address;
		for (byte = 0; byte < kept->region[at].size; byte++)
			*to++ = READ_ONCE(from[byte]);
	}
}

static void module_comes(struct module *module)
{
	struct kept *kept;

	if (!is_named(module))
		return;
	kept = kzalloc(sizeof(*kept), GFP_KERNEL);
	if (!kept) {
		pr_err("no memory for the counters of %s\n", module->name);
		return;
	}
	kept->module = module;
	kept->head.magic = KEPT_MAGIC;
	kept->head.number = ++kept_number;
	kept->head.loaded = 1;
	strscpy(kept->head.name, module->name, sizeof(kept->head.name));
	strscpy(kept->head.guest, guest, sizeof(kept->head.guest));
	find_regions(kept, module);
	list_add_tail(&kept->list, &kept_modules);
}

static void module_goes(const struct module *module)
{
	struct kept *kept;

	list_for_each_entry(kept, &kept_modules, list) {
		if (kept->module != module)
			continue;
		kept->module = NULL;
		kept->head.loaded = 0;
		kept->data = vmalloc(kept->size);
		if (kept->data) {
			kmemleak_no_scan(kept->data); /* its pointers hold nothing */
			copy_regions(kept->data, kept);
		} else {
			pr_err("no memory for the counters of %s\n", module->name);
			list_del(&kept->list);
			kfree(kept);
		}
		return;
	}
}

static int notified(struct notifier_block *block, unsigned long event, void *data)
{
	mutex_lock(&kept_lock);
	if (event == MODULE_STATE_COMING)
		module_comes(data);
	else if (event == MODULE_STATE_GOING)
		module_goes(data);
	mutex_unlock(&kept_lock);
	return NOTIFY_OK;
}

static struct notifier_block notifier = { .notifier_call = notified };

/* What a reader has, so that a copy is forgotten only when it is in a reader's hands. */
struct reading {
	size_t size;
	char data[];
};

static size_t size_of(const struct kept *kept)
{
	return sizeof(kept->head) + kept->head.regions * sizeof(*kept->region) + kept->size;
}

static int kept_open(struct inode *inode, struct file *file)
{
	struct kept *kept, *next;
	struct reading *reading;
	size_t size = 0;
	void *to;

	mutex_lock(&kept_lock);
	list_for_each_entry(kept, &kept_modules, list)
		size += size_of(kept);
	reading = vmalloc(sizeof(*reading) + size);
	if (!reading) {
		mutex_unlock(&kept_lock);
		return -ENOMEM;
	}
	kmemleak_no_scan(reading);
	reading->size = size;
	to = reading->data;
	list_for_each_entry_safe(kept, next, &kept_modules, list) {
		size_t regions = kept->head.regions * sizeof(*kept->region);

		memcpy(to, &kept->head, sizeof(kept->head));
		memcpy(to + sizeof(kept->head), kept->region, regions);
		to += sizeof(kept->head) + regions;
		if (kept->module)
			copy_regions(to, kept);
		else
			memcpy(to, kept->data, kept->size);
		to += kept->size;
		if (!kept->module) {
			list_del(&kept->list);
			vfree(kept->data);
			kfree(kept);
		}
	}
	mutex_unlock(&kept_lock);
	file->private_data = reading;
	return 0;
}

static ssize_t kept_read(struct file *file, char __user *buffer, size_t count, loff_t *offset)
{
	struct reading *reading = file->private_data;

	return simple_read_from_buffer(buffer, count, offset, reading->data, reading->size);
}

static int kept_release(struct inode *inode, struct file *file)
{
	vfree(file->private_data);
	return 0;
}

static const struct proc_ops kept_ops = {
	.proc_open = kept_open,
	.proc_read = kept_read,
	.proc_release = kept_release,
};

static int __init keeper_init(void)
{
	int err;

	if (!proc_create(KBUILD_MODNAME, 0400, NULL, &kept_ops))
		return -ENOMEM;
	err = register_module_notifier(&notifier);
	if (err)
		remove_proc_entry(KBUILD_MODNAME, NULL);
	return err;
}

static void __exit keeper_exit(void)
{
	struct kept *kept, *next;

	unregister_module_notifier(&notifier);
	remove_proc_entry(KBUILD_MODNAME, NULL);
	list_for_each_entry_safe(kept, next, &kept_modules, list) {
		vfree(kept->data);
		kfree(kept);
	}
}

module_init(keeper_init);
module_exit(keeper_exit);

MODULE_DESCRIPTION("Keeps the coverage counters of modules");
MODULE_LICENSE("GPL");
