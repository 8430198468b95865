/* SPDX-License-Identifier: MIT */
#ifndef CTX_SPAWN_EXPLAIN_H
#define CTX_SPAWN_EXPLAIN_H

/*
 * Notes that a system call which ctx_spawn needs has failed. -EOPNOTSUPP for -EPERM and -ENOSYS, which say
 * that a filter forbids it: ctx_spawn_explain() in this thread then names the call. Other errors are returned
 * as they are.
 */
int spawn_note_refusal(const char *call, int error);

#endif
