/* SPDX-License-Identifier: MIT */
/* The pipe of ctx_done_fd. */
#ifndef CTX_DONE_H
#define CTX_DONE_H

struct ctx_context;
struct done;

/* ctx has ended: makes its pipe readable, with the cause in it, and hung up. NULL is allowed. */
void done_close(struct done *done, const struct ctx_context *ctx);

/* Closes and frees all of it. NULL is allowed. */
void done_free(struct done *done);

#endif
