/* SPDX-License-Identifier: MIT */
/*
 * Finds the function and the line of a place in an ELF file, by libdw of elfutils, from the file itself or
 * from the file with its debugging information that /usr/lib/debug has under its build id.
 *
 * libdw is loaded here, on the first call, and ctxtool is not linked with it: it would take a third of the
 * time in which a command such as ctxtool run starts. Without libdw nothing is found.
 *
 * Files may be broken or hostile, and libdw may then crash, loop or wait. It is used in a process of its own,
 * see site_names.c.
 */
#ifndef TOOL_SYMBOLS_H
#define TOOL_SYMBOLS_H

#include <stdbool.h>
#include <stdint.h>

#include "site_names.h"

struct symbols;

/* Takes over fd, of a regular file. NULL: it is not a file with symbols, or there is no libdw. */
struct symbols *symbols_open(int fd);

/* Whether the file has this build id. */
bool symbols_match(const struct symbols *symbols, const unsigned char *build_id, unsigned size);

/*
 * Finds what is at offset in the file. ret_name is empty where nothing is known; its offset counts from the
 * beginning of the function.
 */
void symbols_find(const struct symbols *symbols, uint64_t offset, struct site_name *ret_name);

#endif
