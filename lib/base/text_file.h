/* SPDX-License-Identifier: MIT */
/* Files of /proc and /sys as text. Not by stdio, whose functions are cancellation points of
 * pthread_cancel(3). */
#ifndef CTX_TEXT_FILE_H
#define CTX_TEXT_FILE_H

#include <stddef.h>

/* At most size - 1 bytes of it, and a NUL. Their number, or -errno. */
int text_file_read(const char *path, char *text, size_t size);

/* All of it, to be given to memory_release(). 0, or -errno. */
int text_file_load(const char *path, char **ret_text);

#endif
