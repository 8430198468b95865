# SPDX-License-Identifier: MIT
#
# What looks at the sources without building them.

.PHONY: tidy format

SOURCES := $(wildcard lib/*/*.[ch] daemon/*.[ch] daemon/*/*.[ch] tools/*.[ch] tools/*/*.[ch] fuzz/*.[ch] examples/*.[ch] \
	examples/libraries/*.c bench/*.[ch] bench/peers/*.[ch] include/*.h tests/*.[ch] tests/soak/*.[ch] tests/support/*.[ch] \
	tests/support/programs/*.c)

# Both tools report faults that are none, in lists and where two variables say something together. Read each report, and change
# the code only where the report is right.
TIDY_CHECKS := clang-analyzer-*,-clang-analyzer-valist.Uninitialized,-clang-analyzer-security.insecureAPI.*,$\
bugprone-*,-bugprone-easily-swappable-parameters,-bugprone-reserved-identifier,-bugprone-macro-parentheses,$\
-bugprone-assignment-in-if-condition,-bugprone-implicit-widening-of-multiplication-result
TIDY_FOLDERS := -Iinclude $(DAEMON_FOLDERS) -Idaemon/fleet $(HIREDIS_CFLAGS) $(TOOL_FOLDERS) $(call folders,$(LIB_FOLDERS))

tidy: deps-tidy
	cppcheck --quiet --std=c11 -D_GNU_SOURCE -D__x86_64__ $(TIDY_FOLDERS) --enable=warning,portability \
		--inline-suppr --suppress=missingIncludeSystem lib daemon tools
	clang-tidy --quiet --checks='$(TIDY_CHECKS)' $(filter lib/%.c daemon/%.c tools/%.c,$(SOURCES)) -- \
		-std=gnu11 -D_GNU_SOURCE $(TIDY_FOLDERS) -include lib/base/exports.h

format:
	clang-format -i $(SOURCES)
