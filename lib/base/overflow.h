/* SPDX-License-Identifier: MIT */
/*
 * In a user namespace the kernel shows every user who has no number there as the overflow uid, and every such
 * group as the overflow gid: user_namespaces(7). A process with the overflow uid may be anybody's: the uid
 * proves nothing, and two processes that have it need not be the same user's.
 */
#ifndef CTX_OVERFLOW_H
#define CTX_OVERFLOW_H

#include <sys/types.h>

/* The uid, or the gid, that stands for several users or groups here; -1: each has a number of its own. */
uid_t overflow_uid(void);
gid_t overflow_gid(void);

#endif
