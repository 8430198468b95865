/* SPDX-License-Identifier: MIT */
#include "feature.h"

#include <liburing.h>
#include <stdlib.h>
#include <string.h>

bool features_allowed(void)
{
	const char *setting = secure_getenv("CTXRING_FEATURES");
	return !setting || strcmp(setting, "none") != 0;
}

bool features_park_check(void)
{
	const char *setting = secure_getenv("CTXRING_FEATURES");
	return setting && !strcmp(setting, "park-check");
}

void features_probe(const struct io_uring *uring, struct features *ret_features)
{
	bool allowed = features_allowed();

	*ret_features = (struct features){
		.skip_success = allowed && (uring->features & IORING_FEAT_CQE_SKIP),
		.timed_wait = allowed && (uring->features & IORING_FEAT_EXT_ARG),
		.multishot_poll = allowed,
	};
}
