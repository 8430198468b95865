/* SPDX-License-Identifier: MIT */
/*
 * What the kernel can do beyond the least that rings need. Found by use, never by
 * version number; CTXRING_FEATURES=none in the environment makes all of it absent.
 */
#ifndef CTX_FEATURE_H
#define CTX_FEATURE_H

#include <stdbool.h>

struct io_uring;

struct features {
	bool skip_success;   /* IOSQE_CQE_SKIP_SUCCESS, Linux 5.17 */
	bool timed_wait;     /* IORING_ENTER_EXT_ARG, Linux 5.11 */
	bool multishot_poll; /* Linux 5.13; found out when the first one is armed */
};

/* False when CTXRING_FEATURES=none. */
bool features_allowed(void);

/* True when CTXRING_FEATURES=park-check: parking rings look whether a descriptor is still the same file. */
bool features_park_check(void);

void features_probe(const struct io_uring *uring, struct features *ret_features);

#endif
