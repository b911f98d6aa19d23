// SPDX-License-Identifier: GPL-2.0
/*
 * /dev/ring keeps what is written to it, up to its size, until it is read.
 * When it is full, each new byte replaces the oldest one.
 */
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

static unsigned int size = 16;
module_param(size, uint, 0444);
MODULE_PARM_DESC(size, "how many bytes it keeps, from 1 to 65536");

static char *bytes;
static unsigned int first, kept;
static DEFINE_MUTEX(lock);

static ssize_t ring_read(struct file *file, char __user *to, size_t count,
			 loff_t *pos)
{
	size_t done = 0;

	mutex_lock(&lock);
	while (done < count && kept) {
		if (put_user(bytes[first], to + done))
			break;
		first = (first + 1) % size;
		kept--;
		done++;
	}
	count = done || !count || !kept ? done : -EFAULT;
	mutex_unlock(&lock);
	return count;
}

static ssize_t ring_write(struct file *file, const char __user *from,
			  size_t count, loff_t *pos)
{
	size_t done;
	char byte;

	mutex_lock(&lock);
	for (done = 0; done < count && !get_user(byte, from + done); done++) {
		bytes[(first + kept) % size] = byte;
		if (kept < size)
			kept++;
		else
			first = (first + 1) % size;
	}
	mutex_unlock(&lock);
	return done || !count ? done : -EFAULT;
}

static const struct file_operations ring_operations = {
	.owner = THIS_MODULE,
	.read = ring_read,
	.write = ring_write,
};

static struct miscdevice ring = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "ring",
	.mode = 0666,
	.fops = &ring_operations,
};

static int __init ring_init(void)
{
	int err;

	if (!size || size > 65536)
		return -EINVAL;
	bytes = kmalloc(size, GFP_KERNEL);
	if (!bytes)
		return -ENOMEM;
	err = misc_register(&ring);
	if (err)
		kfree(bytes);
	else
		pr_info("ring: keeps %u bytes\n", size);
	return err;
}

static void __exit ring_exit(void)
{
	misc_deregister(&ring);
	kfree(bytes);
}

module_init(ring_init);
module_exit(ring_exit);

MODULE_DESCRIPTION("A character device that keeps the last bytes written to it");
MODULE_AUTHOR("The interceptor authors");
MODULE_LICENSE("GPL");
