# SPDX-License-Identifier: MIT
#
# The programs of tests/, and the goals that run them.

.PHONY: tests check check-kernels check-stress soak fuzz

# ---- running

# The scripts get the name of make by CHECK_MAKE: a line of a recipe that has $(MAKE) in it would run under `make -n`, too.
check: export CHECK_MAKE := $(MAKE)
check: deps-check
	@.ci/install-missing $(foreach entry,$(PACKAGES_PICTURES),'$(entry)') || echo 'ctxring: the test of what is missing is skipped'
	@MAKE="$$CHECK_MAKE" tests/run.sh

check-kernels: deps-check deps-kernels
	$(SUBMAKE) -s all tests
	@tests/kernels/run.sh $(if $(FULL),--full)

ROUNDS ?= 5
check-stress: export CHECK_MAKE := $(MAKE)
check-stress: deps-check
	@MAKE="$$CHECK_MAKE" tests/stress.sh $(ROUNDS)

# Under ThreadSanitizer the storm starts the service of the usual build, as the tests do.
SOAK_SERVICE := $(if $(filter tsan,$(VARIANT)),build,$(OUT))/ctxd
SECONDS ?= 60
SEED ?=
WEIGHTS ?=
soak: deps-check
	$(SUBMAKE) -s $(OUT)/tests/storm $(if $(filter tsan,$(VARIANT)),,$(OUT)/ctxd)
ifeq ($(VARIANT),tsan)
	$(SUBMAKE) -s VARIANT= build/ctxd
endif
	@tests/soak.sh $(OUT)/tests/storm --service $(SOAK_SERVICE) $(if $(SEED),--seed $(SEED)) \
		$(if $(WEIGHTS),--weights '$(WEIGHTS)') $(SECONDS)

FUZZ_SECONDS ?= 60
fuzz: deps-check
	@fuzz/run.sh $(FUZZ_SECONDS)

# ---- building

# Those in which calls of the library fail need its build for that.
TESTS := $(filter-out $(if $(filter asan,$(VARIANT)),,tests/check_faults%),$(wildcard tests/check_*.c))
# Without hiredis there is no engine to test.
ifeq ($(HIREDIS_CFLAGS),)
TESTS := $(filter-out tests/check_engine%,$(TESTS))
WITHOUT_SUPPORT := tests/support/engine_end.c
endif
# ThreadSanitizer knows nothing of io_uring: only tests that say so run under it.
ifeq ($(VARIANT),tsan)
TESTS := $(shell grep -ls TEST_TSAN $(TESTS))
endif
# APART=1: of the programs those that run under ThreadSanitizer are left out of the tree of AddressSanitizer.
ifeq ($(VARIANT)$(APART),asan1)
TESTS := $(shell grep -Ls TEST_TSAN $(TESTS))
endif
TEST_PROGRAMS := $(patsubst tests/%.c,$(OUT)/tests/%,$(TESTS))
TEST_SUPPORT := $(patsubst %.c,$(OUT)/%.o,$(filter-out tests/support/deny_uring.c $(WITHOUT_SUPPORT),$(wildcard tests/support/*.c)))
SOAK_OBJECTS := $(patsubst %.c,$(OUT)/%.o,$(wildcard tests/soak/*.c))

# Tests of the service start a ctxd of their own variant.
tests: $(TEST_PROGRAMS) $(OUT)/tests/storm $(if $(filter tsan,$(VARIANT)),,$(OUT)/ctxd) \
	$(if $(VARIANT),,$(OUT)/tests/deny_uring $(if $(HIREDIS_CFLAGS),$(OUT)/tests/engine_talk))

# Tests mostly wait, so they are compiled without optimization: that would take most of the time of compiling all trees.
$(eval $(call objects_of,tests,$(call folders,$(LIB_FOLDERS)) -Itests -Idaemon $(DAEMON_FOLDERS) -Idaemon/fleet -Idaemon/engine -Idaemon/bridge $(TOOL_FOLDERS),-U_FORTIFY_SOURCE -O0))

# Of binutils' linkers the one that takes half the time, for the many programs of the tests, where the user has
# chosen none. The compiler is asked once, when the first of them is linked: the variable then replaces itself by the answer.
TEST_LINKER = $(eval TEST_LINKER := $(if $(findstring -fuse-ld,$(CC) $(CFLAGS) $(LDFLAGS)),,$(call links_with,-fuse-ld=gold)))$(TEST_LINKER)

# The program may be a link, from a call with TOGETHER: what it leads to stays as it is.
$(OUT)/tests/%: $(OUT)/tests/%.o $(TEST_SUPPORT) $(BRIDGE_LIBRARY) $(if $(HIREDIS_CFLAGS),$(ENGINE_LIBRARY)) $(FLEET_LIBRARY) \
		$(DAEMON_LIBRARY) $(TEST_LIBRARY)
	@rm -f $@
	$(LINK) $(RUNTIME) $(TEST_LINKER) $(filter %.o,$^) $(filter-out %.o,$^) -luring $(SYSTEMD_LIBS) $(CRYPTO_LIBS) $(HIREDIS_LIBS) $$($(PKG_CONFIG) --libs check) -o $@

# With TOGETHER=1 all programs but those that say TEST_ALONE are links to one program, which is linked once and not 140 times.
# In it the names that each program has get the program's name; what those that say TEST_HOLDS define besides is for them alone.
TOGETHER ?=
TOGETHER_NAMES := $(if $(TOGETHER),$(patsubst tests/%.c,%,$(filter-out $(shell grep -ls TEST_ALONE $(TESTS)),$(TESTS))))
HOLDERS := $(if $(TOGETHER),$(patsubst tests/%.c,%,$(shell grep -ls TEST_HOLDS $(TESTS))))
ifneq ($(TOGETHER_NAMES),)
$(OUT)/tests/together/%.o: $(OUT)/tests/%.o
	@mkdir -p $(@D)
	@others=$$(nm -g --defined-only $< | awk '$$NF !~ /^test_(suite|modes)$$/ { print $$NF }'); \
		[ -z "$$others" ] || [ -n "$(filter $*,$(HOLDERS))" ] || \
		{ echo "$*.c defines" $$others "and says neither TEST_ALONE nor TEST_HOLDS"; exit 1; }
	@$(OBJCOPY) --redefine-sym test_suite=$*_suite --redefine-sym test_modes=$*_modes \
		$(if $(filter $*,$(HOLDERS)),--keep-global-symbol=$*_suite --keep-global-symbol=$*_modes) $< $@

$(OUT)/tests/together/programs.c: $(patsubst %,tests/%.c,$(TOGETHER_NAMES)) mk/tests.mk
	@mkdir -p $(@D)
	@{ echo '#include "support/harness.h"'; \
		printf 'Suite *%s_suite(void);\n' $(TOGETHER_NAMES); \
		printf 'extern const unsigned %s_modes __attribute__((weak));\n' $(TOGETHER_NAMES); \
		echo 'const struct test_program test_programs[] = {'; \
		for name in $(TOGETHER_NAMES); do printf '{"%s", %s_suite, &%s_modes},\n' $$name $$name $$name; done; \
		echo '{0}};'; } >$@

$(OUT)/tests/checks: $(OUT)/tests/together/programs.c $(patsubst %,$(OUT)/tests/together/%.o,$(TOGETHER_NAMES)) $(TEST_SUPPORT) \
		$(BRIDGE_LIBRARY) $(if $(HIREDIS_CFLAGS),$(ENGINE_LIBRARY)) $(FLEET_LIBRARY) $(DAEMON_LIBRARY) $(TEST_LIBRARY)
	$(LINK) $(RUNTIME) $(TEST_LINKER) -std=gnu11 -D_GNU_SOURCE -Iinclude -Itests $^ -luring $(SYSTEMD_LIBS) $(CRYPTO_LIBS) \
		$(HIREDIS_LIBS) $$($(PKG_CONFIG) --libs check) -o $@

$(patsubst %,$(OUT)/tests/%,$(TOGETHER_NAMES)): $(OUT)/tests/checks
	@ln -sfn checks $@
endif

# In this test the instructions of the library are counted, which depend on how it is compiled.
$(OUT)/tests/check_cost.o: BASE_FLAGS += $(if $(filter-out -O2 -g,$(CFLAGS)),,-DUSUAL_FLAGS)

# In this test these functions are replaced by some that can fail, in the code of the service, too.
$(OUT)/tests/check_faults_service: LDFLAGS += $(foreach call,malloc calloc realloc accept4 sendmsg recvmsg fcntl,-Wl,--wrap=$(call))

# In these the allocations fail: of the fleet, and of the service that serves one.
$(OUT)/tests/check_faults_service_fleet: LDFLAGS += $(foreach call,malloc calloc,-Wl,--wrap=$(call))
$(OUT)/tests/check_faults_fleet: LDFLAGS += $(foreach call,malloc calloc realloc strndup,-Wl,--wrap=$(call))

# This test links what ctxtool record makes and writes recordings with.
RECORDING_OBJECTS := $(patsubst %.c,$(OUT)/%.o,$(filter-out tools/record/collect.c tools/record/control.c,$(wildcard tools/record/*.c)) \
	tools/text/names.c tools/text/terminal.c)
$(OUT)/tests/check_recording: $(RECORDING_OBJECTS)

# The storm of make soak is not one of the test programs.
$(OUT)/tests/storm: $(SOAK_OBJECTS) $(TEST_LIBRARY)
	$(LINK) $(RUNTIME) $(TEST_LINKER) $^ -luring -o $@

# ---- programs that tests start

$(OUT)/tests/deny_uring: $(OUT)/tests/support/deny_uring.o
	$(LINK) $^ -lseccomp -o $@

# The program that tests of commands start. It has no sanitizer, whose start would take most of the time of these tests.
$(OUT)/tests/roles: tests/support/programs/roles.c $(COMPILE_RULES) mk/tests.mk
	@mkdir -p $(@D)
	$(CC) -std=gnu11 -D_GNU_SOURCE -pthread $(WARNINGS) -O1 $< -o $@
$(OUT)/tests/check_spawn $(OUT)/tests/check_spawn_start: | $(OUT)/tests/roles

# The test of denied calls loads deny_call.so into programs that start the command patient. The command makes no system call
# that the test does not expect, so it has no C library.
$(OUT)/tests/deny_call.so: tests/support/programs/deny_call.c $(COMPILE_RULES) mk/tests.mk
	@mkdir -p $(@D)
	$(CC) -std=gnu11 -D_GNU_SOURCE $(WARNINGS) -O1 -fPIC -shared $< -o $@
$(OUT)/tests/patient: tests/support/programs/patient.c $(COMPILE_RULES) mk/tests.mk
	@mkdir -p $(@D)
	$(CC) -std=gnu11 -D_GNU_SOURCE $(WARNINGS) -O1 -fno-stack-protector -static -nostdlib $< -o $@
$(OUT)/tests/check_denied_calls: | $(OUT)/tests/deny_call.so $(OUT)/tests/patient

# Two ends of the engine of a fleet, for tests/system_engine_tls.sh, and to measure it.
$(OUT)/tests/engine_talk: tests/support/programs/engine_talk.c $(ENGINE_LIBRARY) $(FLEET_LIBRARY) $(WIRE_OBJECTS) $(COMPILE_RULES) mk/tests.mk
	@mkdir -p $(@D)
	$(COMPILE) -Idaemon/engine -Idaemon/fleet $(call folders,base wire) $(CFLAGS) $< $(ENGINE_LIBRARY) $(FLEET_LIBRARY) $(WIRE_OBJECTS) $(HIREDIS_LIBS) -o $@
