/* SPDX-License-Identifier: MIT */
/* Finds by trying what the kernel and the settings of this system allow. */
#ifndef TOOL_PROBE_H
#define TOOL_PROBE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/resource.h>

#include "names.h"

#define PROBE_UNKNOWN (-1)

struct probe_flag {
	const char *name;
	bool present;
};

struct probe_report {
	char kernel[224];
	int ring_error;	 /* errno of io_uring_setup(2); 0: it works */
	int use_error;	 /* errno of an operation on that ring; 0: it works */
	int table_error; /* errno of making a sealed memfd as the context table is */
	long disabled;	 /* kernel.io_uring_disabled, or PROBE_UNKNOWN */
	long group;	 /* kernel.io_uring_group, or PROBE_UNKNOWN */
	int seccomp;	 /* mode of this process: 0, 1 strict, 2 filter, or PROBE_UNKNOWN */
	struct rlimit memlock, nofile;
	bool opcodes_known; /* the kernel told which opcodes it has */
	bool opcodes[256];
	unsigned last_opcode;
	struct probe_flag *setup_flags, *features, *abilities; /* each ends with a NULL name */
};

/* Fills *ret_report, also where io_uring is denied. */
void probe_system(struct probe_report *ret_report);

/* Whether the kernel has the opcode; true where it cannot be asked. */
bool probe_has(const struct probe_report *report, unsigned opcode);

#endif
