/* SPDX-License-Identifier: MIT */
/* The pipe of ctx_done_fd. */
#ifndef CTX_DONE_H
#define CTX_DONE_H

struct done;

/* Makes it readable and hung up. NULL is allowed. */
void done_close(struct done *done);

/* Closes and frees all of it. NULL is allowed. */
void done_free(struct done *done);

#endif
