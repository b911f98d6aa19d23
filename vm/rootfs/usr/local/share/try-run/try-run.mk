# SPDX-License-Identifier: GPL-2.0
# Before Kbuild builds a module, it starts the compiler 30 to 50 times, to test which options it has:
# that is a third to a half of the time of a small module's build. The file "answers" has what those
# tests have found when this file system was made. A test that is not listed there, because the
# compiler or another option differs, runs as usual.
#
# Kbuild's makefile that defines try-run includes this one at its end. $(call try-run,COMMAND,YES,NO)
# is YES if the command succeeds, and NO if it fails.

try-run-answers := $(file <$(dir $(lastword $(MAKEFILE_LIST)))answers)
try-run-space := $(subst ,, )
# Kbuild's own.
$(eval try-run-asked = $(value try-run))
# An answer is "y" or "n", and the command as a word, between characters that it does not have.
try-run-answer = $(1)<$(subst $(try-run-space),^,$(2))>
try-run-is = $(findstring $(try-run-answer),$(try-run-answers))
# Kbuild has the shell print YES or NO, which changes these characters.
try-run-plain = $(if $(or $(findstring \,$(1)),$(findstring ",$(1)),$(findstring $$,$(1)),$(findstring `,$(1))),,y)
try-run-listed = $(or $(call try-run-is,y,$(1)),$(call try-run-is,n,$(1)))
# With TRY_RUN_RECORD, add the answer to that file.
try-run-note = $(file >>$(TRY_RUN_RECORD),$(call try-run-answer,$(4),$(1)))$(if $(filter y,$(4)),$(2),$(3))
try-run-now = $(if $(TRY_RUN_RECORD),$(call try-run-note,$(1),$(2),$(3),$(call try-run-asked,$(1),y,n)),$(try-run-asked))
try-run-known = $(if $(try-run-listed),$(if $(filter y%,$(try-run-listed)),$(2),$(3)),$(try-run-now))
try-run = $(if $(call try-run-plain,$(2)$(3)),$(try-run-known),$(try-run-asked))
