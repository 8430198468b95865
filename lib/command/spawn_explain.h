/* SPDX-License-Identifier: MIT */
#ifndef CTX_SPAWN_EXPLAIN_H
#define CTX_SPAWN_EXPLAIN_H

/* Of a system call that a start takes: -EOPNOTSUPP if a filter forbids it, and ctx_spawn_explain() in this
 * thread then names it; other errors as they are. */
int spawn_note_refusal(const char *call, int error);

#endif
