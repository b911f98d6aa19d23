/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The few instructions between the kernel and a function of this module.
 *
 * At their point a handler of a system call is being called with its only
 * argument, its struct pt_regs, in a register (on i386 too, where kernel
 * functions take their arguments so, regparm(3)). Nothing else is live that a
 * C function may change. Whatever a stub calls returns to it before the system
 * call is carried out, so that nothing of this module is left on the stack of a
 * process that sleeps in there.
 *
 *   STUB_TAIL	stands for the handler: @function(regs) says where to jump
 *   STUB_BEFORE	is called by the handler first of all, and returns to it
 *   STUB_INSTEAD	likewise, but returns to where @function(regs) says, if not 0
 *
 * STUBS_TAIL and STUBS_BEFORE define arrays of such stubs, STUBS_SIZE apart. The
 * stub of a call looks at the call's byte in @bytes: only if that is not 0, it
 * calls @function(call). Nothing is saved before that.
 *
 * C can't express these: i386 kernels are built with frame pointers, so that the
 * compiler emits a call where a jump is needed.
 */
#ifndef INTERCEPTOR_STUBS_H
#define INTERCEPTOR_STUBS_H

#include <linux/linkage.h>
#include <linux/stringify.h>

/*
 * Aligned: bit 0 of a direct call's address says that it is to be a jump, from
 * 6.19 on (commit 25e4e3565d45), and then the handler itself would not run.
 */
#define STUB(stub, body)						\
	void stub(void);						\
	asm(".pushsection .text, \"ax\"\n"				\
	    ".balign 16\n"						\
	    ".type " #stub ", %function\n"				\
	    #stub ":\n"							\
	    body							\
	    ".size " #stub ", .-" #stub "\n"				\
	    ".popsection\n")

#define STUBS_SIZE	48

/*
 * An array: @stub is the body of one, whose index is \number. @rest comes first.
 * Each stub is a function by itself, so that objtool and backtraces know it.
 */
#define STUBS(stubs, count, rest, stub)					\
	void stubs(void);						\
	asm(".pushsection .text, \"ax\"\n"				\
	    ".balign 16\n"						\
	    ".type " #stubs "_rest, %function\n"			\
	    #stubs "_rest:\n"						\
	    rest							\
	    ".size " #stubs "_rest, .-" #stubs "_rest\n"		\
	    ".altmacro\n"						\
	    ".macro " #stubs "_one number\n"				\
	    ".type " #stubs "_\\number, %function\n"			\
	    #stubs "_\\number:\n"					\
	    stub							\
	    ".size " #stubs "_\\number, .-" #stubs "_\\number\n"	\
	    IBT_NOSEAL(#stubs "_\\number")				\
	    ".org " #stubs " + (\\number + 1) * " __stringify(STUBS_SIZE) STUBS_FILL "\n" \
	    ".endm\n"							\
	    ".balign 16\n"						\
	    #stubs ":\n"						\
	    ".set stubs_number, 0\n"					\
	    ".rept " __stringify(count) "\n"				\
	    #stubs "_one %stubs_number\n"				\
	    ".set stubs_number, stubs_number + 1\n"			\
	    ".endr\n"							\
	    ".noaltmacro\n"						\
	    ".popsection\n")

#ifdef CONFIG_X86

#include <asm/asm.h>
#include <asm/asm-offsets.h>
#include <asm/nospec-branch.h>

/* Where indirect branches land, from 5.18 on (commit 156ff4a544ae). */
#ifndef ASM_ENDBR
#define ASM_ENDBR
#endif
/*
 * Keeps them there: the kernel overwrites those of functions that nothing refers to
 * by name, as of a stub in an array. From 6.0 on (commit e27e5bea956c); 5.18 and
 * 5.19 overwrite, and have nothing against it.
 */
#ifndef IBT_NOSEAL
#define IBT_NOSEAL(stub)
#endif
/* Counts calls for the return predictor, from 6.2 on (commit 5d8213864ade). */
#ifndef CALL_DEPTH_ACCOUNT
#define CALL_DEPTH_ACCOUNT
#endif
#ifndef ASM_RET
#define ASM_RET "ret\n"
#endif

#if defined(CONFIG_RETPOLINE) || defined(CONFIG_MITIGATION_RETPOLINE)
#define STUB_JUMP "jmp __x86_indirect_thunk_" _ASM_CX "\n"
#else
#define STUB_JUMP "jmp *%" _ASM_CX "\n"
#endif

#define STUB_CALLED(stub)		stub

/* %function(regs), its result in cx, with the register that has regs kept. */
#define STUB_CALL(function, result)					\
	    ASM_ENDBR							\
	    "	push	%" _ASM_ARG1 "\n"				\
	    CALL_DEPTH_ACCOUNT						\
	    "	call	" #function "\n"				\
	    result							\
	    "	pop	%" _ASM_ARG1 "\n"
#define STUB_RESULT "	mov	%" _ASM_AX ", %" _ASM_CX "\n"

#define STUB_TAIL(stub, function)					\
	STUB(stub,							\
	     STUB_CALL(function, STUB_RESULT)				\
	     "	" STUB_JUMP)

#define STUB_BEFORE(stub, function)					\
	STUB(stub, STUB_CALL(function, "") "	" ASM_RET)

/* The return address into the handler gives way to another function's. */
#define STUB_INSTEAD(stub, function)					\
	STUB(stub,							\
	     STUB_CALL(function, STUB_RESULT)				\
	     "	test	%" _ASM_CX ", %" _ASM_CX "\n"			\
	     "	jz	1f\n"						\
	     "	mov	%" _ASM_CX ", (%" _ASM_SP ")\n"			\
	     "1:	" ASM_RET)

/* int3 */
#define STUBS_FILL ", 0xcc"

#ifdef CONFIG_X86_64
#define STUBS_AT(array, offset) #array " + " offset "(%rip)"
#define STUBS_WORD "8"
#define STUBS_ARG2 "esi"
#else
#define STUBS_AT(array, offset) #array " + " offset
#define STUBS_WORD "4"
#define STUBS_ARG2 "edx"
#endif

#define STUBS_TEST(bytes)						\
	    ASM_ENDBR							\
	    "	cmpb	$0, " STUBS_AT(bytes, "\\number") "\n"		\
	    "	jne	1f\n"
#define STUBS_REST(stubs)						\
	    "1:	mov	$\\number, %" STUBS_ARG2 "\n"		\
	    "	jmp	" #stubs "_rest\n"

/* As STUB_CALL(), for the call whose number is in the second argument's register. */
#define STUBS_CALL(function, result)					\
	    "	push	%" _ASM_ARG1 "\n"				\
	    "	mov	%" _ASM_ARG2 ", %" _ASM_ARG1 "\n"		\
	    CALL_DEPTH_ACCOUNT						\
	    "	call	" #function "\n"				\
	    result							\
	    "	pop	%" _ASM_ARG1 "\n"

#define STUBS_TAIL(stubs, bytes, originals, function, count)		\
	STUBS(stubs, count,						\
	      STUBS_CALL(function, STUB_RESULT)				\
	      "	" STUB_JUMP,						\
	      STUBS_TEST(bytes)						\
	      "	mov	" STUBS_AT(originals, "\\number * " STUBS_WORD) ", %" _ASM_CX "\n" \
	      "	" STUB_JUMP						\
	      STUBS_REST(stubs))

#define STUBS_BEFORE(stubs, bytes, function, count)			\
	STUBS(stubs, count,						\
	      STUBS_CALL(function, "") "	" ASM_RET,		\
	      STUBS_TEST(bytes)						\
	      "	" ASM_RET						\
	      STUBS_REST(stubs))

#else /* CONFIG_ARM64 */

#define STUBS_FILL
#define IBT_NOSEAL(stub)

/* Lands at a "bti c", and leaves by x16, which such a landing allows. */
#define STUB_TAIL(stub, function)					\
	STUB(stub,							\
	     "	hint	#34\n"						\
	     "	stp	x29, x30, [sp, #-32]!\n"			\
	     "	mov	x29, sp\n"					\
	     "	str	x0, [sp, #16]\n"				\
	     "	bl	" #function "\n"				\
	     "	mov	x16, x0\n"					\
	     "	ldr	x0, [sp, #16]\n"				\
	     "	ldp	x29, x30, [sp], #32\n"				\
	     "	br	x16\n")

#define STUBS_TAIL(stubs, bytes, originals, function, count)		\
	STUBS(stubs, count,						\
	     "	stp	x29, x30, [sp, #-32]!\n"			\
	     "	mov	x29, sp\n"					\
	     "	str	x0, [sp, #16]\n"				\
	     "	mov	x0, x1\n"					\
	     "	bl	" #function "\n"				\
	     "	mov	x16, x0\n"					\
	     "	ldr	x0, [sp, #16]\n"				\
	     "	ldp	x29, x30, [sp], #32\n"				\
	     "	br	x16\n",					\
	     "	hint	#34\n"						\
	     "	adrp	x16, " #bytes " + \\number\n"			\
	     "	ldrb	w16, [x16, :lo12:" #bytes " + \\number]\n"		\
	     "	cbnz	w16, 1f\n"					\
	     "	adrp	x16, " #originals " + \\number * 8\n"		\
	     "	ldr	x16, [x16, :lo12:" #originals " + \\number * 8]\n"	\
	     "	br	x16\n"						\
	     "1:	mov	w1, \\number\n"				\
	     "	b	" #stubs "_rest\n")

/* A handler does not call anything there: it is hooked by a kprobe. */
#define STUB_BEFORE(stub, function)
#define STUBS_BEFORE(stubs, bytes, function, count)
#define STUB_INSTEAD(stub, function)
#define STUB_CALLED(stub)		NULL

#endif

#endif /* INTERCEPTOR_STUBS_H */
