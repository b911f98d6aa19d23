# SPDX-License-Identifier: GPL-2.0
# Before Kbuild builds a module, it starts the compiler 30 to 50 times, to test which options it has:
# that is a third to a half of the time of a small module's build. The answers were written to the
# file "answers" when this file system was made. A test that is not listed there, because the
# compiler or another option differs, runs as usual.
#
# make reads this file before any other, as the environment's MAKEFILES names it.

try-run-answers := $(dir $(lastword $(MAKEFILE_LIST)))answers
try-run-listed := $(file <$(try-run-answers))
try-run-space := $(subst ,, )
# An answer is "y" or "n", and the command that was tested: a word, between characters that do not
# stand in such a command.
try-run-answer = $(1)<$(subst $(try-run-space),^,$(2))>
try-run-is = $(findstring $(try-run-answer),$(try-run-listed))
try-run-note = $(if $(TRY_RUN_RECORD),$(file >>$(try-run-answers),$(try-run-answer)))
# The command, as Kbuild's own try-run runs it.
try-run-succeeds = $(shell TMP=$(TMPOUT)/tmp; TMPO=$(TMPOUT)/tmp.o; trap "rm -rf $(TMPOUT)" EXIT; \
	mkdir -p $(TMPOUT); if ($(1)) >/dev/null 2>&1; then echo y; fi)
try-run-now = $(if $(try-run-succeeds),$(call try-run-note,y,$(1))$(2),$(call try-run-note,n,$(1))$(3))
override try-run = $(if $(call try-run-is,y,$(1)),$(2),$(if $(call try-run-is,n,$(1)),$(3),$(try-run-now)))
