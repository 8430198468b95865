# SPDX-License-Identifier: MIT
#
# The compiler and its flags. Sets CC, OUT (the object tree), COMPILE, LINK, LIB_FLAGS, RUNTIME, COMPILE_RULES (what every object
# depends on beside its sources), and LD, OBJCOPY, AR, STRIP, READELF and PKG_CONFIG for the machine that CC compiles for.

# ---- cross tools

ifeq ($(origin CC),default)
CC := $(CROSS_COMPILE)gcc
endif

# Where CROSS_COMPILE is not given it is the prefix of CC, or the machine that clang is told by --target=. A prefix counts only if
# a linker has it, too: musl-gcc uses the linker of this machine.
ifeq ($(CROSS_COMPILE),)
CC_PREFIX := $(shell printf '%s\n' $(CC) $(filter --target=%,$(CFLAGS)) | \
	sed -nE 's/^--target=(.*)/\1-/p; s/^(.*-)(gcc|cc|clang)(-[0-9.]+)?$$/\1/p' | head -n 1)
CROSS_COMPILE := $(if $(CC_PREFIX),$(shell command -v $(CC_PREFIX)ld >/dev/null && echo '$(CC_PREFIX)'))
endif

# What the user gives, in the environment or on the command line, stays. make itself gives values to LD, AR and CXX.
ifeq ($(origin LD),default)
LD := $(CROSS_COMPILE)ld
endif
ifeq ($(origin AR),default)
AR := $(CROSS_COMPILE)ar
endif
ifeq ($(origin CXX),default)
CXX := $(CROSS_COMPILE)g++
endif
OBJCOPY ?= $(CROSS_COMPILE)objcopy
STRIP ?= $(CROSS_COMPILE)strip
READELF ?= $(CROSS_COMPILE)readelf

# Some systems have a pkg-config for each machine. Without it the usual one is told to look where Debian has the files of that
# machine's libraries; it would find those of this machine otherwise.
ifeq ($(CROSS_COMPILE),)
PKG_CONFIG ?= pkg-config
else ifneq ($(shell command -v $(CROSS_COMPILE)pkg-config),)
PKG_CONFIG ?= $(CROSS_COMPILE)pkg-config
else
MACHINE := $(patsubst %-,%,$(notdir $(CROSS_COMPILE)))
PKG_CONFIG ?= PKG_CONFIG_LIBDIR=$${PKG_CONFIG_LIBDIR-/usr/lib/$(MACHINE)/pkgconfig:/usr/$(MACHINE)/lib/pkgconfig} pkg-config
endif

# ---- VARIANT: object trees of their own for sanitizers, fault injection, the other compiler

VARIANT ?=
OUT := build$(if $(VARIANT),/$(VARIANT))

# Sanitizers find the same with less optimization, which compiles faster. -g1 is enough for the files and lines in their reports.
ifneq ($(filter asan tsan,$(VARIANT)),)
CFLAGS ?= -O1 -g1
endif
CFLAGS ?= -O2 -g

ifeq ($(VARIANT),asan)
# Calls of the library can be made to fail here: lib/base/sys.h.
VARIANT_FLAGS := -DCTX_FAULTS -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
else ifeq ($(VARIANT),tsan)
VARIANT_FLAGS := -fsanitize=thread -Wno-tsan -Wno-unknown-warning-option
else ifeq ($(VARIANT),clang)
CC := clang
else ifneq ($(VARIANT),)
$(error VARIANT is one of asan, tsan, clang)
endif

# The flags $(1), if this compiler links with them.
links_with = $(shell echo 'int main(void) { return 0; }' | $(CC) $(1) -x c - -o /dev/null 2>/dev/null && echo $(1))
# gcc's sanitizers have shared libraries as runtimes, and each search for leaks reads through the data of both. So the runtimes
# are linked statically. clang does that by itself, and has no such option.
RUNTIME :=
ifneq ($(findstring -fsanitize=address,$(VARIANT_FLAGS)),)
RUNTIME := $(filter -static%,$(call links_with,-fsanitize=address -fsanitize=undefined -static-libasan -static-libubsan))
endif

# ---- flags

WARNINGS := -Wall -Wextra -Wshadow -Wconversion -Werror
BASE_FLAGS := -std=gnu11 -D_GNU_SOURCE -pthread -Iinclude -MMD -MP $(VARIANT_FLAGS)
# exports.h gives the functions of the public header, and nothing else, default visibility.
# Pairs of pointers are not put together in vector registers before they are stored: that takes more instructions than two stores.
LIB_FLAGS := -fPIC -fvisibility=hidden -fno-tree-slp-vectorize -include lib/base/exports.h
LINK = $(CC) $(CFLAGS) $(VARIANT_FLAGS) -pthread $(LDFLAGS)
COMPILE = $(CC) $(BASE_FLAGS) $(WARNINGS)

# When compiler or flags change, everything is built anew.
FLAGS_STAMP := $(OUT)/flags
ifneq ($(filter-out help clean deps% uninstall,$(or $(MAKECMDGOALS),all)),)
# <sys/sdt.h>, which lib/base/usdt.h looks for, may be installed later.
FLAGS_NOW := $(CC) $(CFLAGS) $(VARIANT_FLAGS) $(RUNTIME) $(LDFLAGS) $(wildcard /usr/include/sys/sdt.h /usr/include/*/sys/sdt.h)
ifneq ($(FLAGS_NOW),$(shell cat $(FLAGS_STAMP) 2>/dev/null))
$(shell mkdir -p $(OUT) && printf '%s\n' '$(FLAGS_NOW)' >$(FLAGS_STAMP))
endif
endif
COMPILE_RULES := Makefile mk/compiler.mk $(FLAGS_STAMP)
