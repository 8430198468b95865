/* SPDX-License-Identifier: MIT */
/*
 * Names places in the code of a process: the function, the file and the line, where symbols are.
 *
 * Each place is looked up once, and the first one of a process takes some milliseconds or more, so commands
 * that list many contexts use site_text() of sites.h.
 */
#ifndef TOOL_SITE_NAMES_H
#define TOOL_SITE_NAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct process;

struct site_name {
	char function[256]; /* as the linker knows it; "": not known. Both texts are not escaped */
	char file[512];	    /* "": not known */
	uint64_t offset;    /* of the place from the beginning of the function */
	uint32_t line;
};

/* Looks up a return address of the process. False: nothing is known. */
bool site_name(const struct process *process, uint64_t address, struct site_name *ret_name);

/*
 * Writes "function+0x2a (file.c:12)", escaped; the object's name in place of file and line where these are
 * not known; and what site_text() writes where the function is not known. Returns buffer.
 */
char *site_name_text(const struct process *process, uint64_t address, char *buffer, size_t size);

/* What is known of the names of a process, for struct sites. NULL: no memory. */
struct site_names *site_names_new(void);
/* NULL is allowed. */
void site_names_free(struct site_names *names);

#endif
