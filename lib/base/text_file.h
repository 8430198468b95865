/* SPDX-License-Identifier: MIT */
/* Reading files of /proc and /sys as text. Not with stdio, whose functions are cancellation points of
 * pthread_cancel(3). */
#ifndef CTX_TEXT_FILE_H
#define CTX_TEXT_FILE_H

#include <stddef.h>

/* Reads at most size - 1 bytes of the file, and adds a NUL. Returns the number of bytes, or -errno. */
int text_file_read(const char *path, char *text, size_t size);

/* Reads all of the file into memory that the caller gives to memory_release(). Returns 0 or -errno. */
int text_file_load(const char *path, char **ret_text);

#endif
