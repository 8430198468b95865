/* SPDX-License-Identifier: MIT */
/*
 * What the bigger examples share: common.h, and opening a ring.
 */
#ifndef EXAMPLE_H
#define EXAMPLE_H

#include "common.h"
#include <ctxring.h>
#include <liburing.h>

/*
 * The setup flags of the two kinds of ring. On an ordinary ring the kernel may interrupt the owner to post
 * completions. On a ring with DEFER_TASKRUN it posts them only when the owner enters the kernel for them:
 * that is cheaper, but nothing completes while the owner computes.
 */
static inline bool ring_kind_flags(const char *kind, unsigned *ret_setup_flags)
{
	if (!strcmp(kind, "ordinary"))
		*ret_setup_flags = 0;
	else if (!strcmp(kind, "defer"))
		*ret_setup_flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN;
	else
		return false;
	return true;
}

/* Opens a ring, or prints the reason why there is none and what can be done about it. */
static inline struct ctx_ring *open_ring(unsigned entries, const struct ctx_ring_options *options)
{
	struct ctx_ring *ring;
	char reason[512];
	int error;

	error = ctx_ring_open(entries, options, &ring);
	if (!error)
		return ring;
	ctx_ring_explain(error, reason, sizeof(reason));
	fprintf(stderr, "%s: no io_uring: %s\n", program_invocation_short_name, reason);
	return NULL;
}

#endif
