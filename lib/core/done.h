/* SPDX-License-Identifier: MIT */
/* Done pipes, whose read end ctx_done_fd() returns. They know nothing of contexts. */
#ifndef CTX_DONE_H
#define CTX_DONE_H

#include <stddef.h>

struct done;

/*
 * Makes a pipe. older are the pipes that this process has inherited for the same context; NULL: none. Returns
 * 0 or -errno.
 */
int done_new(struct done *older, struct done **ret_done);

/* To be called when the context has the pipe: from here on the program may know its descriptor. */
void done_set_known(struct done *done);

/* Another process gets the read end. With the lock of the context held, as for done_close(). */
void done_set_given(struct done *done);

/* The read end. -1: done is NULL, or a pipe of the parent. */
int done_fd(const struct done *done);

/* The context has ended: writes words to the pipe and closes its write end. */
void done_close(struct done *done, const void *words, size_t size);

/* Closes and frees the pipe and older ones, without waiting for other processes. NULL is allowed. */
void done_free(struct done *done);

/* Returns a descriptor that is never readable, the same for all contexts that never end; or -errno. */
int done_endless_fd(void);

#endif
