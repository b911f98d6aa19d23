// SPDX-License-Identifier: GPL-2.0
/*
 * A 32-bit program that needs no 32-bit C library: it issues system calls as
 * its arguments say, each of four numbers, in decimal,
 *
 *	compat32 NUMBER ARG1 ARG2 ARG3 [NUMBER ARG1 ARG2 ARG3 ...]
 *
 * and prints what each returns, a line each. As ARG3, "self" is its own pid.
 */
#define NR_EXIT		1
#define NR_WRITE	4
#define NR_GETPID	20

static int issue(int nr, int a, int b, int c)
{
	int ret;

	asm volatile("int $0x80" : "=a"(ret) : "a"(nr), "b"(a), "c"(b), "d"(c) : "memory");
	return ret;
}

static int number(const char *text)
{
	int minus = *text == '-', value = 0;

	if (*text == 's')
		return issue(NR_GETPID, 0, 0, 0);
	for (text += minus; *text; text++)
		value = 10 * value + *text - '0';
	return minus ? -value : value;
}

static void print(int value)
{
	char line[16], *at = line + sizeof(line);
	unsigned int rest = value < 0 ? -value : value;

	*--at = '\n';
	do
		*--at = '0' + rest % 10;
	while (rest /= 10);
	if (value < 0)
		*--at = '-';
	issue(NR_WRITE, 1, (int)at, line + sizeof(line) - at);
}

__attribute__((used)) static void run(int *stack)
{
	const char **arg = (const char **)stack + 2;

	for (; *arg; arg += 4)
		print(issue(number(arg[0]), number(arg[1]), number(arg[2]), number(arg[3])));
	issue(NR_EXIT, 0, 0, 0);
}

asm(".globl _start\n"
    "_start:\n"
    "	mov	%esp, %eax\n"
    "	push	%eax\n"
    "	call	run\n");
