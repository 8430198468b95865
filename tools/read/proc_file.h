/* SPDX-License-Identifier: MIT */
/* Reads files of /proc, whose size is not known before they are read. */
#ifndef TOOL_PROC_FILE_H
#define TOOL_PROC_FILE_H

#include <stdbool.h>

/*
 * Reads the whole text of a file in the open directory, which the caller frees. 0 or -errno: -ECANCELED when
 * another thread has set *stop, which may be NULL.
 */
int proc_file_read(int directory, const char *name, const _Atomic bool *stop, char **ret_text);

#endif
