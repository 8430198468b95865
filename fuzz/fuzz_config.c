/* SPDX-License-Identifier: MIT */
/* Fuzzes the reading of ctxd.conf: it is accepted, or refused with a reason that has printable characters
 * only. */
#include <stdlib.h>
#include <string.h>

#include "config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char reason[120] = "";
	struct config config;

	if (!config_parse((const char *)data, size, &config, reason, sizeof(reason))) {
		if (!config.connections_max || !config.slow_ns || !config.depth_max)
			abort();
		return 0;
	}
	if (!reason[0] || !memchr(reason, '\0', sizeof(reason)))
		abort();
	for (const char *byte = reason; *byte; byte++)
		if (*byte < ' ' || *byte > '~')
			abort();
	return 0;
}
