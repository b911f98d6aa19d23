// SPDX-License-Identifier: GPL-2.0
/* /dev/tryout: what a test can try a device's system calls on. */
#include <linux/fs.h>
#include <linux/ioctl.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/uaccess.h>

#include "tryout.h"

struct pair {
	u32 first, second;
};

#define TRYOUT_SWAP _IOWR('t', 1, struct pair)
#define TRYOUT_ANSWER _IOR('t', 2, u64)
#define TRYOUT_WARN _IO('t', 3)
#define TRYOUT_WARN_SILENTLY _IO('t', 4)

static void *page;

int tryout_answer(void)
{
	return 42;
}
EXPORT_SYMBOL_GPL(tryout_answer);

static long tryout_ioctl(struct file *file, unsigned int request, unsigned long arg)
{
	void __user *to = (void __user *)arg;
	struct pair pair;
	u64 answer = 0x0123456789abcdefULL;

	switch (request) {
	case TRYOUT_SWAP:
		if (copy_from_user(&pair, to, sizeof(pair)))
			return -EFAULT;
		swap(pair.first, pair.second);
		return copy_to_user(to, &pair, sizeof(pair)) ? -EFAULT : 0;
	case TRYOUT_ANSWER:
		return copy_to_user(to, &answer, sizeof(answer)) ? -EFAULT : tryout_answer();
	case TRYOUT_WARN:
		WARN_ONCE(1, "tryout: asked to warn, by %lu\n", arg);
		return 0;
	case TRYOUT_WARN_SILENTLY:
		WARN_ON(1);
		return 0;
	}
	return -ENOTTY;
}

static ssize_t tryout_read(struct file *file, char __user *to, size_t count, loff_t *pos)
{
	return simple_read_from_buffer(to, count, pos, page, PAGE_SIZE);
}

static ssize_t tryout_write(struct file *file, const char __user *from, size_t count, loff_t *pos)
{
	return simple_write_to_buffer(page, PAGE_SIZE, pos, from, count);
}

static int tryout_mmap(struct file *file, struct vm_area_struct *vma)
{
	if (vma->vm_pgoff)
		return -EINVAL;
	return vm_insert_page(vma, vma->vm_start, virt_to_page(page));
}

static const struct file_operations tryout_operations = {
	.owner = THIS_MODULE,
	.unlocked_ioctl = tryout_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.read = tryout_read,
	.write = tryout_write,
	.mmap = tryout_mmap,
};

static struct miscdevice tryout = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "tryout",
	.mode = 0600,
	.fops = &tryout_operations,
};

static int __init tryout_init(void)
{
	int err;

	page = (void *)get_zeroed_page(GFP_KERNEL);
	if (!page)
		return -ENOMEM;
	err = misc_register(&tryout);
	if (err)
		free_page((unsigned long)page);
	return err;
}

static void __exit tryout_exit(void)
{
	misc_deregister(&tryout);
	free_page((unsigned long)page);
}

module_init(tryout_init);
module_exit(tryout_exit);

MODULE_DESCRIPTION("A device to try system calls on");
MODULE_LICENSE("GPL");
