/* SPDX-License-Identifier: MIT */
/*
 * In a user namespace the kernel shows each user that has no number there as one and the same, the overflow
 * uid, and each such group as the overflow gid: user_namespaces(7). Whoever has it may be anybody, so it is
 * evidence of nothing, and two that have it are not the same user.
 */
#ifndef CTX_OVERFLOW_H
#define CTX_OVERFLOW_H

#include <sys/types.h>

/* The uid that many users may have here, or -1: each user has one of its own. */
uid_t overflow_uid(void);
gid_t overflow_gid(void);

#endif
