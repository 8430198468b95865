/* SPDX-License-Identifier: MIT */
/* The pipe of ctx_done_fd, without the context that it belongs to. */
#ifndef CTX_DONE_H
#define CTX_DONE_H

#include <stddef.h>

struct done;

/*
 * A new pipe, in front of those that this process has inherited for the same context (NULL: none). 0, or
 * -errno.
 */
int done_new(struct done *older, struct done **ret_done);

/* Its context leads to it now: from here on the program may know its number. */
void done_set_known(struct done *done);

/* The end to read from; -1: NULL, or another process's pipe. */
int done_fd(const struct done *done);

/* Its context has ended: makes it readable, with words in it, and hung up. */
void done_close(struct done *done, const void *words, size_t size);

/* Closes and frees all of it. NULL is allowed. */
void done_free(struct done *done);

/* One descriptor for all contexts that never end: it is never readable. Or -errno. */
int done_endless_fd(void);

#endif
