# SPDX-License-Identifier: MIT
#
# ctxring. `make help` lists the targets.
#
# Everything is found by wildcard: a new lib/*/*.c, daemon/*.c, daemon/*/*.c, tools/*.c, tools/*/*.c, fuzz/fuzz_*.c, examples/*.c,
# bench/*.c, man/*.[13578], tests/check_*.c, tests/build_*.sh or tests/system_*.sh needs no change here. Only
# examples/libraries/*.c are in a table, LIBRARY_EXAMPLES of mk/examples.mk.
#
# This file has the goals, the folders and how library and programs are made; the rest is in mk/:
#
#   compiler.mk    the compiler, its flags, VARIANT, the tools that go with a cross compiler
#   packages.mk    Debian's packages for each purpose: make deps
#   examples.mk    examples, demo, play
#   tests.mk       tests, check, check-kernels, check-stress, soak, fuzz
#   bench.mk       benches, bench, bench-quick, peers, bench-peers
#   sources.mk     tidy, format
#   install.mk     install, install-strip, uninstall
#
# Variables that a user sets:
#
#   CC, CFLAGS, LDFLAGS  as usual; gcc and clang both work
#   CROSS_COMPILE=...    for another machine: the prefix of its tools, such as aarch64-linux-gnu-. CC=aarch64-linux-gnu-gcc
#                        does the same.
#   PREFIX, DESTDIR      for install
#   NO_INSTALL=1         never install packages, only name them
#   VARIANT=...          a second object tree under build/: asan, tsan, clang
#   OUT=...              an object tree elsewhere

.DEFAULT_GOAL := all

PREFIX ?= /usr/local
LIBDIR ?= $(PREFIX)/lib
MANDIR ?= $(PREFIX)/share/man

include mk/compiler.mk

# The version is defined in the public header only.
header_number = $(shell sed -n 's/^.define CTXRING_VERSION_$(1) //p' include/ctxring.h)
MAJOR := $(call header_number,MAJOR)
VERSION := $(MAJOR).$(call header_number,MINOR)
SONAME := libctxring.so.$(MAJOR)
SHARED := libctxring.so.$(VERSION)

# ---- goals

STATIC_LIBRARY := $(OUT)/libctxring.a
TEST_LIBRARY := $(OUT)/libctxring-internal.a
DAEMON_LIBRARY := $(OUT)/libctxd-internal.a
FLEET_LIBRARY := $(OUT)/libctxd-fleet-internal.a
ENGINE_LIBRARY := $(OUT)/libctxd-engine-internal.a
BRIDGE_LIBRARY := $(OUT)/libctxd-bridge-internal.a
TOOLS := $(OUT)/ctxtool $(OUT)/ctxd $(OUT)/ctxd-fleet

.PHONY: all library tools clean help
.SECONDARY:
.DELETE_ON_ERROR:

all: library tools examples
library: $(OUT)/$(SHARED) $(STATIC_LIBRARY) $(OUT)/ctxring.pc
tools: $(TOOLS)

help:
	@echo 'make all           library, ctxtool and examples, under build/'
	@echo 'make demo          installs what is missing, builds, shows what ctxring does'
	@echo 'make demo-fleet    the same for hosts of a fleet, with Redis, in network namespaces'
	@echo 'make picture       records the example server and makes the picture of README.md, with a browser'
	@echo 'make play          starts the example server and leaves it running'
	@echo 'make check         installs what is missing, builds, runs every test'
	@echo 'make check-kernels tests on Linux 6.1 and 6.12 in virtual machines; FULL=1: all of them'
	@echo 'make check-stress  the passes normal, plain, asan, tsan and faults, ROUNDS=5 times, on busy processors'
	@echo 'make soak          a random storm: SECONDS=60 (or 20m, 2h), SEED= to repeat one, VARIANT=asan|tsan'
	@echo 'make bench         all benchmarks; bench-quick: less of it, in fewer turns'
	@echo 'make bench-peers   other libraries beside this one: tables and plots; bench-peers-quick: in 90 s'
	@echo 'make fuzz          fuzzes the formats; FUZZ_SECONDS=60 for each'
	@echo 'make install       to $$(DESTDIR)$$(PREFIX), by default /usr/local; uninstall: takes it away'
	@echo 'make install-strip the same without the debugging information'
	@echo 'make deps          names or installs the packages that make check needs'
	@echo 'make deps-pictures  those of the test of the page that ctxtool record writes, and of make picture'
	@echo 'make deps-cross    those of the test that compiles for arm64, tests/build_cross.sh'
	@echo 'make tidy          clang-tidy and cppcheck; format: clang-format on the sources'
	@echo 'make clean         removes build/'
	@echo 'NO_INSTALL=1       never install packages, only name them'
	@echo 'VARIANT=asan|tsan|clang   another object tree: make VARIANT=asan tests'
	@echo 'CROSS_COMPILE=aarch64-linux-gnu- OUT=build/arm64   for another machine, in a tree of its own'

clean:
	rm -rf build

# Goals such as demo and bench first install the packages that are missing, and then build in a second make.
SUBMAKE = +@$(MAKE) --no-print-directory $(if $(filter -j%,$(MAKEFLAGS)),,-j$$(nproc))

# ---- the folders

# The folders of lib/, lowest first, each with the folders below it that it may use: those are where its compiler
# looks for headers, and tests/build_folders.sh asks the same of what it calls.
LIB_FOLDERS := base table wire core uring ring blocking task source client propagate command
USES_table := base
USES_core := base table wire
USES_uring := base
USES_ring := base table core uring
USES_blocking := base table core uring ring
USES_task := base table core uring ring
USES_source := base table core uring ring
USES_client := base table wire core uring ring
USES_propagate := base table core client
USES_command := base core uring propagate
# The -I options for the folders $(1) of lib/.
folders = $(addprefix -Ilib/,$(1))

LIB_SOURCES := $(foreach folder,$(LIB_FOLDERS),$(sort $(wildcard lib/$(folder)/*.c)))
LIB_OBJECTS := $(patsubst %.c,$(OUT)/%.o,$(LIB_SOURCES))
# ctxtool: the commands are in tools/, tools/top is ctxtool top, what several share is in tools/common. tools/select has the language that selects
# contexts; tools/read looks at processes, core files and the kernel; tools/text has names, durations, signals, the command
# line and the terminal. A folder uses those after it in this order: top, common, select, read, text. tools/record, which makes
# and writes recordings for one command, uses the last two.
TOOL_FOLDERS := -Itools/common -Itools/select -Itools/read -Itools/text
TOOL_OBJECTS := $(patsubst %.c,$(OUT)/%.o,$(sort $(wildcard tools/*.c tools/*/*.c)))
# ctxd: daemon/ has its sockets and its loop, daemon/broker what the service does with messages, daemon/util the configuration,
# the log and tables of objects. A folder uses those after it in this order.
DAEMON_FOLDERS := -Idaemon/broker -Idaemon/util
DAEMON_OBJECTS := $(patsubst %.c,$(OUT)/%.o,$(sort $(wildcard daemon/*.c daemon/broker/*.c daemon/util/*.c)))
UTIL_OBJECTS := $(patsubst %.c,$(OUT)/%.o,$(sort $(wildcard daemon/util/*.c)))
# The pure core of ctxd-fleet. It uses the hash tables of daemon/util, and of lib/ the heap.
FLEET_OBJECTS := $(patsubst %.c,$(OUT)/%.o,$(wildcard daemon/fleet/*.c))
# The engine of ctxd-fleet over Redis. It uses the seam and the names of daemon/fleet, and of lib/ headers of base.
ENGINE_OBJECTS := $(patsubst %.c,$(OUT)/%.o,$(wildcard daemon/engine/*.c))
# ctxd-fleet: daemon/bridge is the program around that core. Its objects use those of all four folders.
BRIDGE_OBJECTS := $(patsubst %.c,$(OUT)/%.o,$(sort $(wildcard daemon/bridge/*.c)))
BRIDGE_FOLDERS := -Idaemon/fleet -Idaemon/engine -Idaemon/util
# Internal names of the library are local in its archive. ctxd uses some of its files, and links their objects: the protocol,
# descriptors that are passed, users without a number, and the heap for its times.
WIRE_OBJECTS := $(patsubst %.c,$(OUT)/%.o,$(wildcard lib/wire/*.c)) $(OUT)/lib/base/overflow.o $(OUT)/lib/base/heap.o $(OUT)/lib/base/passed.o
# By libsystemd ctxd says that it is ready and gets its socket from systemd. Without the library it lacks these two things only.
SYSTEMD_CFLAGS := $(shell $(PKG_CONFIG) --exists libsystemd 2>/dev/null && echo -DHAVE_SYSTEMD $$($(PKG_CONFIG) --cflags libsystemd))
SYSTEMD_LIBS := $(if $(SYSTEMD_CFLAGS),$(shell $(PKG_CONFIG) --libs libsystemd))
# By libcrypto ctxd-fleet authenticates its messages. Without the library a fleet cannot have a key.
CRYPTO_CFLAGS := $(shell $(PKG_CONFIG) --exists 'libcrypto >= 3.0' 2>/dev/null && echo -DHAVE_CRYPTO $$($(PKG_CONFIG) --cflags libcrypto))
CRYPTO_LIBS := $(if $(CRYPTO_CFLAGS),$(shell $(PKG_CONFIG) --libs libcrypto))
# By hiredis ctxd-fleet talks to Redis; without it there is none. With hiredis_ssl, which hiredis has since 1.0, it can do so over
# TLS. The headers are included as those of the system, which give no warnings.
HIREDIS_MODULES := $(shell $(PKG_CONFIG) --exists hiredis 2>/dev/null && echo hiredis && \
	$(PKG_CONFIG) --exists hiredis_ssl openssl 2>/dev/null && echo hiredis_ssl openssl)
HIREDIS_CFLAGS := $(if $(HIREDIS_MODULES),-DHAVE_HIREDIS $(if $(filter hiredis_ssl,$(HIREDIS_MODULES)),-DHAVE_HIREDIS_SSL) \
	$(shell $(PKG_CONFIG) --cflags $(HIREDIS_MODULES) | sed 's/-I/-isystem /g'))
HIREDIS_LIBS := $(if $(HIREDIS_MODULES),$(shell $(PKG_CONFIG) --libs $(HIREDIS_MODULES)))

# By the headers of libdw ctxtool names functions and lines; the library itself it loads when it needs it. Without them it shows
# places in the code as object and offset.
LIBDW_CFLAGS := $(shell $(PKG_CONFIG) --exists libdw 2>/dev/null && echo -DHAVE_LIBDW $$($(PKG_CONFIG) --cflags libdw))

# By the headers of libmicrohttpd ctxtool serves metrics; the library, too, it loads when it needs it.
MICROHTTPD_CFLAGS := $(shell $(PKG_CONFIG) --exists libmicrohttpd 2>/dev/null && echo -DHAVE_MICROHTTPD $$($(PKG_CONFIG) --cflags libmicrohttpd))

# ---- objects

# $(1): directory, $(2): flags of its sources, $(3): flags that override the user's. The makefile that calls this says
# how they are compiled: when it changes, they are compiled anew.
define objects_of
$(OUT)/$(1)/%.o: $(1)/%.c $(COMPILE_RULES) $(lastword $(MAKEFILE_LIST))
	@mkdir -p $$(@D)
	$$(COMPILE) $(2) $$(CFLAGS) $(3) -c $$< -o $$@
endef
$(foreach folder,$(LIB_FOLDERS),$(eval $(call objects_of,lib/$(folder),$$(LIB_FLAGS) $(call folders,$(folder) $(USES_$(folder))))))
# The keeper runs in a process that was cloned from one with threads. No runtime of a sanitizer works there.
$(OUT)/lib/command/keeper%.o: LIB_FLAGS += $(if $(findstring -fsanitize,$(VARIANT_FLAGS)),-fno-sanitize=all)
$(eval $(call objects_of,tools/text,$(call folders,table)))
$(eval $(call objects_of,tools/read,-Itools/read -Itools/text $(call folders,table) $(LIBDW_CFLAGS)))
$(eval $(call objects_of,tools/select,-Itools/select -Itools/read -Itools/text $(call folders,table)))
$(eval $(call objects_of,tools/common,$(TOOL_FOLDERS) $(call folders,table)))
$(eval $(call objects_of,tools/record,-Itools/record -Itools/read -Itools/text $(call folders,table)))
$(eval $(call objects_of,tools/top,-Itools/top $(TOOL_FOLDERS) $(call folders,table)))
$(eval $(call objects_of,tools,-Itools/top $(TOOL_FOLDERS) -Itools/record $(call folders,table) $(MICROHTTPD_CFLAGS)))
# The page of ctxtool record is part of the program.
$(OUT)/tools/record/page_files.o: $(wildcard tools/record/page.*)
$(eval $(call objects_of,daemon/util,$(call folders,base table wire)))
$(eval $(call objects_of,daemon/broker,-Idaemon/util $(call folders,base table wire)))
$(eval $(call objects_of,daemon,$(DAEMON_FOLDERS) $(call folders,base table wire) $(SYSTEMD_CFLAGS)))
$(eval $(call objects_of,daemon/fleet,-Idaemon/util $(call folders,base wire) $(CRYPTO_CFLAGS)))
$(eval $(call objects_of,daemon/engine,-Idaemon/fleet $(call folders,base wire) $(HIREDIS_CFLAGS)))
$(eval $(call objects_of,daemon/bridge,$(BRIDGE_FOLDERS) $(call folders,base wire) $(SYSTEMD_CFLAGS) $(if $(HIREDIS_CFLAGS),-DHAVE_HIREDIS)))

# ---- library

# nodelete: dlclose(3) must not unload the library, because its threads run and its fork handlers stay registered until the
# process ends.
$(OUT)/$(SHARED): $(LIB_OBJECTS) lib/ctxring.map
	$(LINK) -shared -Wl,-soname,$(SONAME) -Wl,--version-script,lib/ctxring.map -Wl,-z,defs \
		-Wl,-z,nodelete $(LIB_OBJECTS) \
		-luring -o $@
	@ln -sf $(SHARED) $(OUT)/$(SONAME)
	@ln -sf $(SONAME) $(OUT)/libctxring.so

# The archive holds one object. Internal names are local in it, so that they do not clash with names of the program.
$(STATIC_LIBRARY): $(LIB_OBJECTS)
	$(LD) -r $(LIB_OBJECTS) -o $(OUT)/libctxring.o
	$(OBJCOPY) --localize-hidden $(OUT)/libctxring.o
	@rm -f $@
	$(AR) rcs $@ $(OUT)/libctxring.o

# The archive for tests, which call internal functions.
$(TEST_LIBRARY): $(LIB_OBJECTS)
	@rm -f $@
	$(AR) rcs $@ $(LIB_OBJECTS)

PC_FILE := sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@LIBDIR@|$(LIBDIR)|' -e 's|@VERSION@|$(VERSION)|' lib/ctxring.pc.in
$(OUT)/ctxring.pc: lib/ctxring.pc.in Makefile include/ctxring.h
	@mkdir -p $(@D)
	$(PC_FILE) >$@

# ---- programs

# Of the library it needs one internal file besides: the stems of labels.
$(OUT)/ctxtool: $(TOOL_OBJECTS) $(OUT)/lib/table/stem.o $(STATIC_LIBRARY)
	$(LINK) $^ -luring -ljansson -lelf $$($(PKG_CONFIG) --libs ncursesw) -o $@

$(OUT)/ctxd: $(DAEMON_OBJECTS) $(WIRE_OBJECTS) $(STATIC_LIBRARY)
	$(LINK) $(RUNTIME) $^ -luring $(SYSTEMD_LIBS) -o $@

$(OUT)/ctxd-fleet: $(BRIDGE_OBJECTS) $(if $(HIREDIS_CFLAGS),$(ENGINE_OBJECTS)) $(FLEET_OBJECTS) $(UTIL_OBJECTS) $(WIRE_OBJECTS)
	$(LINK) $(RUNTIME) $^ $(SYSTEMD_LIBS) $(CRYPTO_LIBS) $(HIREDIS_LIBS) -o $@
	$(if $(HIREDIS_CFLAGS),,@echo 'ctxring: pkg-config does not find hiredis (libhiredis-dev), so ctxd-fleet has no engine')

$(BRIDGE_LIBRARY): $(BRIDGE_OBJECTS)
	@rm -f $@
	$(AR) rcs $@ $(filter-out $(OUT)/daemon/bridge/main.o,$^)

# The service without its main(), for tests.
$(DAEMON_LIBRARY): $(DAEMON_OBJECTS)
	@rm -f $@
	$(AR) rcs $@ $(filter-out $(OUT)/daemon/main.o,$^)

$(FLEET_LIBRARY): $(FLEET_OBJECTS)
	@rm -f $@
	$(AR) rcs $@ $^

$(ENGINE_LIBRARY): $(ENGINE_OBJECTS)
	@rm -f $@
	$(AR) rcs $@ $^

include mk/packages.mk mk/examples.mk mk/tests.mk mk/bench.mk mk/sources.mk mk/install.mk

-include $(shell find $(OUT) -maxdepth 3 -name '*.d' 2>/dev/null)
