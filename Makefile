# SPDX-License-Identifier: MIT
#
# ctxring. `make help` lists the targets.
#
# Everything is found by wildcard: a new lib/*/*.c, daemon/*.c, tools/*.c, tools/*/*.c, fuzz/fuzz_*.c, examples/*.c, bench/*.c,
# man/*.[13578], tests/check_*.c, tests/build_*.sh or tests/system_*.sh needs no change here. Only
# examples/libraries/*.c are in a table, LIBRARY_EXAMPLES.
#
#   CC, CFLAGS, LDFLAGS  as usual; gcc and clang both work
#   PREFIX, DESTDIR      for install
#   NO_INSTALL=1         never install packages, only name them
#   VARIANT=...          a second object tree under build/, see "Variants"

ifeq ($(origin CC),default)
CC := gcc
endif
PREFIX ?= /usr/local
LIBDIR ?= $(PREFIX)/lib
MANDIR ?= $(PREFIX)/share/man

# The one place of the version is the public header.
header_number = $(shell sed -n 's/^.define CTXRING_VERSION_$(1) //p' include/ctxring.h)
MAJOR := $(call header_number,MAJOR)
VERSION := $(MAJOR).$(call header_number,MINOR)
SONAME := libctxring.so.$(MAJOR)
SHARED := libctxring.so.$(VERSION)

# ---- packages (Debian's names), each with what shows that it is there: a command, a
# header or a file. Alternatives are separated by "|".

PACKAGES_BUILD := gcc=gcc libc6-dev=stdio.h pkg-config=pkg-config binutils=objcopy liburing-dev=liburing.h \
	node-llhttp=/usr/share/llhttp/llhttp.c libjansson-dev=jansson.h libelf-dev=libelf.h libncurses-dev=curses.h
PACKAGES_DEMO := $(PACKAGES_BUILD) curl=curl
PACKAGES_CHECK := $(PACKAGES_DEMO) check=check.h clang=clang \
	libclang-rt-14-dev|libclang-rt-dev=/usr/lib/llvm-*/lib/clang/*/lib/linux/libclang_rt.asan-*.a \
	g++=g++ strace=strace procps=pgrep libseccomp-dev=seccomp.h mandoc=mandoc \
	libcurl4-openssl-dev|libcurl4-gnutls-dev=curl/curl.h libsqlite3-dev=sqlite3.h libpq-dev=postgresql/libpq-fe.h \
	libglib2.0-dev=glib-2.0/glib.h libuv1-dev=uv.h libevent-dev=event2/event.h libc-ares-dev=ares.h
# Virtual machines with other kernels; without them their tests say why they do not run.
PACKAGES_KERNELS := qemu-system-x86=qemu-system-x86_64 cpio=cpio iproute2=ip
PACKAGES_BENCH := $(PACKAGES_DEMO) wrk=wrk golang-go=go libboost-dev=/usr/include/boost/asio.hpp g++=g++
PACKAGES_TIDY := $(PACKAGES_CHECK) clang-tidy=clang-tidy cppcheck=cppcheck clang-format=clang-format

# ---- Variants: object trees of their own for sanitizers, fault injection, the other compiler

VARIANT ?=
OUT := build$(if $(VARIANT),/$(VARIANT))
TESTS := $(filter-out tests/check_faults%,$(wildcard tests/check_*.c))

# Sanitizers check the same with less of the optimizer and compile sooner; -g1 still names files and lines.
ifneq ($(filter asan tsan faults,$(VARIANT)),)
CFLAGS ?= -O1 -g1
endif
CFLAGS ?= -O2 -g

ifeq ($(VARIANT),asan)
VARIANT_FLAGS := -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
else ifeq ($(VARIANT),tsan)
VARIANT_FLAGS := -fsanitize=thread -Wno-tsan -Wno-unknown-warning-option
# ThreadSanitizer knows nothing of io_uring: only tests that say so run under it.
TESTS := $(shell grep -ls TEST_TSAN $(TESTS))
else ifeq ($(VARIANT),faults)
VARIANT_FLAGS := -DCTX_FAULTS -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
TESTS := $(wildcard tests/check_faults*.c)
else ifeq ($(VARIANT),clang)
CC := clang
else ifneq ($(VARIANT),)
$(error VARIANT is one of asan, tsan, faults, clang)
endif

# AddressSanitizer's runtime within the program: each look for leaks reads through a runtime's data, and gcc's
# shared ones are two. (clang's is within the program anyway, and has no such option.)
links_with = $(shell echo 'int main(void) { return 0; }' | $(CC) $(1) -x c - -o /dev/null 2>/dev/null && echo $(1))
RUNTIME :=
ifneq ($(findstring -fsanitize=address,$(VARIANT_FLAGS)),)
RUNTIME := $(filter -static%,$(call links_with,-fsanitize=address -fsanitize=undefined -static-libasan -static-libubsan))
endif
# Of binutils' linkers the one that takes half the time, for the many programs of the tests.
# Asked when the first of them is linked.
TEST_LINKER = $(eval TEST_LINKER := $(if $(findstring -fuse-ld,$(CC) $(CFLAGS) $(LDFLAGS)),,$(call links_with,-fuse-ld=gold)))$(TEST_LINKER)

WARNINGS := -Wall -Wextra -Wshadow -Wconversion -Werror
BASE_FLAGS := -std=gnu11 -D_GNU_SOURCE -pthread -Iinclude -MMD -MP $(VARIANT_FLAGS)
# exports.h gives the functions of the public header, and nothing else, default visibility.
LIB_FLAGS := -fPIC -fvisibility=hidden -include lib/base/exports.h
LINK = $(CC) $(CFLAGS) $(VARIANT_FLAGS) -pthread $(LDFLAGS)
COMPILE = $(CC) $(BASE_FLAGS) $(WARNINGS)

# The folders of lib/, lowest first, each with the folders below it that it may use: those are where its compiler
# looks for headers, and tests/build_folders.sh asks the same of what it calls.
LIB_FOLDERS := base table wire core uring ring blocking task source propagate command client
USES_table := base
USES_core := base table wire
USES_uring := base
USES_ring := base table core uring
USES_blocking := base table core uring ring
USES_task := base table core uring ring
USES_source := base table core uring ring
USES_propagate := base table core
USES_command := base core uring propagate
USES_client := base table wire core uring ring
# What the folders $(1) need to find their headers.
folders = $(addprefix -Ilib/,$(1))

LIB_SOURCES := $(foreach folder,$(LIB_FOLDERS),$(sort $(wildcard lib/$(folder)/*.c)))
LIB_OBJECTS := $(patsubst %.c,$(OUT)/%.o,$(LIB_SOURCES))
# ctxtool: the commands are in tools/, what several of them share in tools/common. tools/read looks at processes, core files
# and the kernel; tools/text has names, durations, signals, the command line and the terminal. A folder uses those after
# it in this order: common, read, text.
TOOL_OBJECTS := $(patsubst %.c,$(OUT)/%.o,$(sort $(wildcard tools/*.c tools/*/*.c)))
DAEMON_OBJECTS := $(patsubst %.c,$(OUT)/%.o,$(wildcard daemon/*.c))
# What both sides of the protocol share; and times are a heap there and here.
WIRE_OBJECTS := $(OUT)/lib/wire/wire.o $(OUT)/lib/base/overflow.o $(OUT)/lib/base/heap.o $(OUT)/lib/base/passed.o
# Readiness and socket activation; without it ctxd lacks both and nothing else.
SYSTEMD_CFLAGS := $(shell pkg-config --exists libsystemd 2>/dev/null && echo -DHAVE_SYSTEMD $$(pkg-config --cflags libsystemd))
SYSTEMD_LIBS := $(if $(SYSTEMD_CFLAGS),$(shell pkg-config --libs libsystemd))
EXAMPLES := $(patsubst examples/%.c,$(OUT)/examples/%,$(wildcard examples/*.c))
# Examples that need a library of others, each with its name for pkg-config. Built where that is there.
LIBRARY_EXAMPLES := curl=libcurl sqlite=sqlite3 postgres=libpq glib=glib-2.0 uv=libuv libevent=libevent_core \
	resolve=libcares
BENCHES := $(patsubst bench/%.c,$(OUT)/bench/%,$(wildcard bench/*.c))
BENCH_SUPPORT := $(patsubst %.c,$(OUT)/%.o,$(wildcard bench/support/*.c))
LLHTTP_OBJECTS := $(addprefix $(OUT)/llhttp/,api.o http.o llhttp.o)
TEST_PROGRAMS := $(patsubst tests/%.c,$(OUT)/tests/%,$(TESTS))
SOAK_OBJECTS := $(patsubst %.c,$(OUT)/%.o,$(wildcard tests/soak/*.c))
TEST_SUPPORT := $(patsubst %.c,$(OUT)/%.o,$(filter-out tests/support/deny_uring.c,$(wildcard tests/support/*.c)))
MAN_PAGES := $(wildcard man/*.1 man/*.3 man/*.5 man/*.7 man/*.8)

STATIC_LIBRARY := $(OUT)/libctxring.a
TEST_LIBRARY := $(OUT)/libctxring-internal.a
DAEMON_LIBRARY := $(OUT)/libctxd-internal.a
LIBRARIES := $(if $(LIB_OBJECTS),$(OUT)/$(SHARED) $(STATIC_LIBRARY) $(OUT)/ctxring.pc)
TOOLS := $(OUT)/ctxtool $(OUT)/ctxd

.PHONY: all library tools examples tests benches check check-kernels check-stress soak demo play bench bench-quick \
	fuzz install uninstall deps deps-demo deps-check deps-kernels deps-bench deps-tidy tidy format clean help
.SECONDARY:
.DELETE_ON_ERROR:

all: library tools examples
library: $(LIBRARIES)
tools: $(TOOLS)
# Looked for only when examples are among the goals.
ifneq ($(filter all examples,$(or $(MAKECMDGOALS),all)),)
EXAMPLES += $(patsubst %,$(OUT)/examples/libraries/%,$(shell for entry in $(LIBRARY_EXAMPLES); do \
	pkg-config --exists "$${entry#*=}" 2>/dev/null && echo "$${entry%%=*}"; done))
endif
examples: $(EXAMPLES)
# Tests of the service start the one that was built as they were.
tests: $(TEST_PROGRAMS) $(if $(filter faults,$(VARIANT)),,$(OUT)/tests/storm) $(if $(filter faults tsan,$(VARIANT)),,$(OUT)/ctxd) \
	$(if $(VARIANT),,$(OUT)/tests/deny_uring)
benches: $(BENCHES)

help:
	@echo 'make all           library, ctxtool and examples, under build/'
	@echo 'make demo          installs what is missing, builds, shows what ctxring does'
	@echo 'make play          starts the example server and leaves it running'
	@echo 'make check         installs what is missing, builds, runs every test'
	@echo 'make check-kernels tests on Linux 6.1 and 6.12 in virtual machines; FULL=1: all of them'
	@echo 'make check-stress  the passes normal, plain, asan, tsan and faults, ROUNDS=5 times, on busy processors'
	@echo 'make soak          a random storm: SECONDS=60 (or 20m, 2h), SEED= to repeat one, VARIANT=asan|tsan'
	@echo 'make bench         all benchmarks; bench-quick: about two minutes'
	@echo 'make fuzz          fuzzes the formats; FUZZ_SECONDS=60 for each'
	@echo 'make install       to $$(DESTDIR)$$(PREFIX), by default /usr/local; uninstall: takes it away'
	@echo 'make deps          names or installs the packages that make check needs'
	@echo 'make tidy          clang-tidy and cppcheck; format: clang-format on the sources'
	@echo 'make clean         removes build/'
	@echo 'NO_INSTALL=1       never install packages, only name them'
	@echo 'VARIANT=asan|tsan|faults|clang   another object tree: make VARIANT=asan tests'

# ---- when compiler or flags change, everything is built anew

FLAGS_STAMP := $(OUT)/flags
ifneq ($(filter-out help clean deps% uninstall,$(or $(MAKECMDGOALS),all)),)
FLAGS_NOW := $(CC) $(CFLAGS) $(VARIANT_FLAGS) $(RUNTIME) $(LDFLAGS)
ifneq ($(FLAGS_NOW),$(shell cat $(FLAGS_STAMP) 2>/dev/null))
$(shell mkdir -p $(OUT) && printf '%s\n' '$(FLAGS_NOW)' >$(FLAGS_STAMP))
endif
endif

# ---- objects

# $(1): directory, $(2): flags of its sources, $(3): flags that override the user's
define objects_of
$(OUT)/$(1)/%.o: $(1)/%.c Makefile $(FLAGS_STAMP)
	@mkdir -p $$(@D)
	$$(COMPILE) $(2) $$(CFLAGS) $(3) -c $$< -o $$@
endef
$(foreach folder,$(LIB_FOLDERS),$(eval $(call objects_of,lib/$(folder),$$(LIB_FLAGS) $(call folders,$(folder) $(USES_$(folder))))))
# Runs in a process that was cloned from one with threads: no runtime of a sanitizer there.
$(OUT)/lib/command/keeper%.o: LIB_FLAGS += $(if $(findstring -fsanitize,$(VARIANT_FLAGS)),-fno-sanitize=all)
$(eval $(call objects_of,tools/text,$(call folders,table)))
$(eval $(call objects_of,tools/read,-Itools/read -Itools/text $(call folders,table)))
$(eval $(call objects_of,tools/common,-Itools/common -Itools/read -Itools/text $(call folders,table)))
$(eval $(call objects_of,tools,-Itools/common -Itools/read -Itools/text $(call folders,table)))
$(eval $(call objects_of,daemon,$(call folders,base table wire) $(SYSTEMD_CFLAGS)))
$(eval $(call objects_of,examples,-isystem /usr/share/include/llhttp))
$(eval $(call objects_of,bench,$(call folders,$(LIB_FOLDERS))))
# Tests mostly wait: they need no optimizer, which takes most of the time of compiling all the trees.
$(eval $(call objects_of,tests,$(call folders,$(LIB_FOLDERS)) -Itests -Idaemon -Itools/common -Itools/read -Itools/text,-U_FORTIFY_SOURCE -O0))

# Not our source: none of our warnings.
$(OUT)/llhttp/%.o: /usr/share/llhttp/%.c Makefile $(FLAGS_STAMP)
	@mkdir -p $(@D)
	$(CC) $(BASE_FLAGS) -I/usr/share/include/llhttp $(CFLAGS) -w -c $< -o $@

# ---- library

# Not to be unloaded: its threads run and its fork handlers stay registered until the process ends.
$(OUT)/$(SHARED): $(LIB_OBJECTS) lib/ctxring.map
	$(LINK) -shared -Wl,-soname,$(SONAME) -Wl,--version-script,lib/ctxring.map -Wl,-z,defs \
		-Wl,-z,nodelete $(LIB_OBJECTS) \
		-luring -o $@
	@ln -sf $(SHARED) $(OUT)/$(SONAME)
	@ln -sf $(SONAME) $(OUT)/libctxring.so

# One object whose internal names are local, so that they clash with nobody's.
$(STATIC_LIBRARY): $(LIB_OBJECTS)
	ld -r $(LIB_OBJECTS) -o $(OUT)/libctxring.o
	objcopy --localize-hidden $(OUT)/libctxring.o
	@rm -f $@
	ar rcs $@ $(OUT)/libctxring.o

# Internal functions can be called: for tests.
$(TEST_LIBRARY): $(LIB_OBJECTS)
	@rm -f $@
	ar rcs $@ $(LIB_OBJECTS)

$(OUT)/ctxring.pc: lib/ctxring.pc.in Makefile include/ctxring.h
	@mkdir -p $(@D)
	sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@LIBDIR@|$(LIBDIR)|' -e 's|@VERSION@|$(VERSION)|' $< >$@

# The service without its main(): for tests.
$(DAEMON_LIBRARY): $(DAEMON_OBJECTS)
	@rm -f $@
	ar rcs $@ $(filter-out $(OUT)/daemon/main.o,$^)

# ---- programs

$(OUT)/ctxtool: $(TOOL_OBJECTS) $(STATIC_LIBRARY)
	$(LINK) $^ -luring -ljansson -lelf $$(pkg-config --libs ncursesw) -o $@

$(OUT)/ctxd: $(DAEMON_OBJECTS) $(WIRE_OBJECTS) $(STATIC_LIBRARY)
	$(LINK) $(RUNTIME) $^ -luring $(SYSTEMD_LIBS) -o $@

$(OUT)/examples/httpd: $(LLHTTP_OBJECTS)
$(OUT)/examples/%: $(OUT)/examples/%.o $(STATIC_LIBRARY)
	$(LINK) $(filter %.o,$^) $(STATIC_LIBRARY) -luring -o $@

# Their headers are not our source, as above.
module_of = $(patsubst $*=%,%,$(filter $*=%,$(LIBRARY_EXAMPLES)))
$(OUT)/examples/libraries/%.o: examples/libraries/%.c Makefile $(FLAGS_STAMP)
	@mkdir -p $(@D)
	flags=$$(pkg-config --cflags $(module_of)) && \
		$(COMPILE) $$(echo " $$flags" | sed 's/ -I/ -isystem /g') $(CFLAGS) -c $< -o $@

$(OUT)/examples/libraries/%: $(OUT)/examples/libraries/%.o $(STATIC_LIBRARY)
	libraries=$$(pkg-config --libs $(module_of)) && $(LINK) $^ $$libraries -luring -o $@

# Boost.Asio beside parked operations, where it is (libboost-dev).
ifneq ($(wildcard /usr/include/boost/asio.hpp),)
$(OUT)/bench/asio.o: bench/asio.cc bench/asio.h Makefile $(FLAGS_STAMP)
	@mkdir -p $(@D)
	$(CXX) -std=c++17 -Ibench $(CFLAGS) -c $< -o $@
$(OUT)/bench/park.o: BASE_FLAGS += -DHAVE_ASIO
$(OUT)/bench/park: $(OUT)/bench/asio.o
$(OUT)/bench/park: BENCH_LIBRARIES := -lstdc++
endif

$(OUT)/bench/%: $(OUT)/bench/%.o $(BENCH_SUPPORT) $(TEST_LIBRARY)
	$(LINK) $^ -luring $(BENCH_LIBRARIES) -o $@

$(OUT)/tests/deny_uring: $(OUT)/tests/support/deny_uring.o
	$(LINK) $^ -lseccomp -o $@

# What tests of commands start. Not the variant's: a sanitizer's start would take most of their time.
$(OUT)/tests/roles: tests/support/programs/roles.c Makefile $(FLAGS_STAMP)
	@mkdir -p $(@D)
	$(CC) -std=gnu11 -D_GNU_SOURCE -pthread $(WARNINGS) -O1 $< -o $@
$(OUT)/tests/check_spawn: | $(OUT)/tests/roles

# What the test of denied calls loads into programs, and the command that these start: it makes no call that the
# test does not expect, so it has no C library.
$(OUT)/tests/deny_call.so: tests/support/programs/deny_call.c Makefile $(FLAGS_STAMP)
	@mkdir -p $(@D)
	$(CC) -std=gnu11 -D_GNU_SOURCE $(WARNINGS) -O1 -fPIC -shared $< -o $@
$(OUT)/tests/patient: tests/support/programs/patient.c Makefile $(FLAGS_STAMP)
	@mkdir -p $(@D)
	$(CC) -std=gnu11 -D_GNU_SOURCE $(WARNINGS) -O1 -fno-stack-protector -static -nostdlib $< -o $@
$(OUT)/tests/check_denied_calls: | $(OUT)/tests/deny_call.so $(OUT)/tests/patient

# This test makes calls of the service's code fail.
$(OUT)/tests/check_faults_service: LDFLAGS += $(foreach call,malloc calloc realloc accept4 sendmsg recvmsg fcntl,-Wl,--wrap=$(call))

# The storm of make soak: not one of the test programs.
$(OUT)/tests/storm: $(SOAK_OBJECTS) $(TEST_LIBRARY)
	$(LINK) $(RUNTIME) $(TEST_LINKER) $^ -luring -o $@

$(OUT)/tests/%: $(OUT)/tests/%.o $(TEST_SUPPORT) $(DAEMON_LIBRARY) $(TEST_LIBRARY)
	$(LINK) $(RUNTIME) $(TEST_LINKER) $^ -luring $(SYSTEMD_LIBS) $$(pkg-config --libs check) -o $@

# ---- doing things. What is missing is installed first, which is why these build in a second make.

deps: deps-check
deps-demo deps-check deps-kernels deps-bench deps-tidy: deps-%:
	@.ci/install-missing $(foreach entry,$(PACKAGES_$(shell echo $* | tr a-z A-Z)),'$(entry)')

SUBMAKE = +@$(MAKE) --no-print-directory $(if $(filter -j%,$(MAKEFLAGS)),,-j$$(nproc))

demo: deps-demo
	@echo 'ctxring: building'
	$(SUBMAKE) -s all
	@examples/demo.sh

play: deps-demo
	@echo 'ctxring: building'
	$(SUBMAKE) -s all
	@examples/play.sh

# Not by its name in the recipe: lines that have that run under `make -n`, too.
check: export CHECK_MAKE := $(MAKE)
check: deps-check
	@MAKE="$$CHECK_MAKE" tests/run.sh

check-kernels: deps-check deps-kernels
	$(SUBMAKE) -s all tests
	@tests/kernels/run.sh $(if $(FULL),--full)

ROUNDS ?= 5
check-stress: export CHECK_MAKE := $(MAKE)
check-stress: deps-check
	@MAKE="$$CHECK_MAKE" tests/stress.sh $(ROUNDS)

# The service of ThreadSanitizer's storm is the usual one, as in the tests.
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

bench bench-quick: deps-bench
	$(SUBMAKE) all benches
	@bench/run.sh $(if $(filter bench-quick,$@),--quick)

FUZZ_SECONDS ?= 60
fuzz: deps-check
	@fuzz/run.sh $(FUZZ_SECONDS)

SOURCES := $(wildcard lib/*/*.[ch] daemon/*.[ch] tools/*.[ch] tools/*/*.[ch] fuzz/*.[ch] examples/*.[ch] examples/libraries/*.c \
	bench/*.[ch] bench/support/*.[ch] include/*.h tests/*.[ch] tests/soak/*.[ch] tests/support/*.[ch] tests/support/programs/*.c)

# Both see faults that are none in lists and in what is told by more than one variable: to be read, not obeyed.
TIDY_CHECKS := clang-analyzer-*,-clang-analyzer-valist.Uninitialized,-clang-analyzer-security.insecureAPI.*,$\
bugprone-*,-bugprone-easily-swappable-parameters,-bugprone-reserved-identifier,-bugprone-macro-parentheses,$\
-bugprone-assignment-in-if-condition,-bugprone-implicit-widening-of-multiplication-result

tidy: deps-tidy
	cppcheck --quiet --std=c11 -D_GNU_SOURCE -D__x86_64__ -Iinclude -Itools/common -Itools/read -Itools/text $(call folders,$(LIB_FOLDERS)) --enable=warning,portability \
		--inline-suppr --suppress=missingIncludeSystem lib daemon tools
	clang-tidy --quiet --checks='$(TIDY_CHECKS)' $(filter lib/%.c daemon/%.c tools/%.c,$(SOURCES)) -- \
		-std=gnu11 -D_GNU_SOURCE -Iinclude -Itools/common -Itools/read -Itools/text $(call folders,$(LIB_FOLDERS)) -include lib/base/exports.h

format:
	clang-format -i $(SOURCES)

clean:
	rm -rf build

# ---- installation

INSTALL ?= install
READELF ?= readelf
INSTALLED_HEADERS := include/ctxring.h include/ctxring.hpp
# Where each of the files beside the programs goes, below PREFIX.
INSTALLED_DATA := tools/completion/ctxtool.bash=share/bash-completion/completions/ctxtool \
	tools/completion/_ctxtool=share/zsh/site-functions/_ctxtool \
	daemon/systemd/ctxd.service=lib/systemd/system/ctxd.service \
	daemon/systemd/ctxd.socket=lib/systemd/system/ctxd.socket \
	daemon/systemd/ctxd-user.service=lib/systemd/user/ctxd.service \
	daemon/systemd/ctxd.sysusers=lib/sysusers.d/ctxd.conf \
	daemon/systemd/ctxd.tmpfiles=lib/tmpfiles.d/ctxd.conf

# ALIAS=PAGE for each function that a page describes beside the one that it is called after, from the pages' NAME lines:
# man(1) finds these only where mandb(8) has run, so each gets a page that leads to that one.
ALIAS_PAGES = $(shell awk 'FNR == 1 { page = FILENAME; gsub(/.*\/|\.3$$/, "", page); inside = 0 } \
	/^\.SH/ { inside = $$2 == "NAME"; next } \
	inside { end = index($$0, "\\-"); count = split(end ? substr($$0, 1, end - 1) : $$0, names, /[ ,]+/); \
		for (i = 1; i <= count; i++) if (names[i] != "" && names[i] != page) print names[i] "=" page; \
		if (end) inside = 0 }' $(filter %.3,$(MAN_PAGES)))
LDCONFIG ?= PATH=$$PATH:/usr/sbin:/sbin ldconfig

# The loader finds a library in a new place, as /usr/local/lib is, when ldconfig(8) has run: what is packaged, or
# installed without the right to, is left to whoever has it.
# Without libsystemd ctxd never says that it is ready, and nobody may wait for that: its program tells what it has.
install: library tools
	$(INSTALL) -d $(DESTDIR)$(PREFIX)/include $(DESTDIR)$(LIBDIR)/pkgconfig $(DESTDIR)$(PREFIX)/bin
	$(INSTALL) -m 644 $(INSTALLED_HEADERS) $(DESTDIR)$(PREFIX)/include
	$(INSTALL) -m 755 $(OUT)/$(SHARED) $(DESTDIR)$(LIBDIR)
	ln -sf $(SHARED) $(DESTDIR)$(LIBDIR)/$(SONAME)
	ln -sf $(SONAME) $(DESTDIR)$(LIBDIR)/libctxring.so
	$(INSTALL) -m 644 $(STATIC_LIBRARY) $(DESTDIR)$(LIBDIR)
	sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@LIBDIR@|$(LIBDIR)|' -e 's|@VERSION@|$(VERSION)|' lib/ctxring.pc.in \
		>$(DESTDIR)$(LIBDIR)/pkgconfig/ctxring.pc
	$(if $(TOOLS),$(INSTALL) -m 755 $(TOOLS) $(DESTDIR)$(PREFIX)/bin)
	set -e; type=simple; if $(READELF) -d $(OUT)/ctxd | grep -q 'NEEDED.*libsystemd'; then type=notify; fi; \
	for pair in $(INSTALLED_DATA); do \
		to=$(DESTDIR)$(PREFIX)/$${pair#*=}; \
		$(INSTALL) -d $${to%/*}; \
		sed -e 's|@BINDIR@|$(PREFIX)/bin|' -e "s|^Type=notify|Type=$$type|" $${pair%%=*} >$$to; chmod 644 $$to; \
	done
	set -e; for page in $(MAN_PAGES); do \
		dir=$(DESTDIR)$(MANDIR)/man$${page##*.}; \
		$(INSTALL) -d $$dir; $(INSTALL) -m 644 $$page $$dir; \
	done
	set -e; cd $(DESTDIR)$(MANDIR)/man3; for pair in $(ALIAS_PAGES); do \
		echo ".so man3/$${pair#*=}.3" >$${pair%%=*}.3; chmod 644 $${pair%%=*}.3; \
	done
	$(if $(DESTDIR),,@if [ "$$(id -u)" = 0 ] && $(LDCONFIG); then :; \
		else echo 'Programs find the library when root has run ldconfig, or by -Wl,-rpath,$(LIBDIR)'; fi)

uninstall:
	cd $(DESTDIR)$(PREFIX) && rm -f $(patsubst include/%,include/%,$(INSTALLED_HEADERS)) bin/ctxtool bin/ctxd \
		$(foreach pair,$(INSTALLED_DATA),$(lastword $(subst =, ,$(pair))))
	cd $(DESTDIR)$(LIBDIR) && rm -f $(SHARED) $(SONAME) libctxring.so libctxring.a pkgconfig/ctxring.pc
	cd $(DESTDIR)$(MANDIR) && rm -f $(foreach page,$(MAN_PAGES),man$(subst .,,$(suffix $(page)))/$(notdir $(page))) \
		$(foreach pair,$(ALIAS_PAGES),man3/$(firstword $(subst =, ,$(pair))).3)
	$(if $(DESTDIR),,-@[ "$$(id -u)" != 0 ] || $(LDCONFIG))

-include $(shell find $(OUT) -maxdepth 3 -name '*.d' 2>/dev/null)
