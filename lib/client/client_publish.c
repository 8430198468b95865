/* SPDX-License-Identifier: MIT */
/* CTXRING_PUBLISH=1: a program that knows nothing of the service is published when it makes its first
 * context. */
#include <stdlib.h>
#include <string.h>

#include "client.h"
#include "table.h"

/* In a forked child too, with the table of its own. The client is for the life of the process. */
static void publish(void)
{
	static const struct ctxd_options options = {.flags = CTXD_PUBLISH | CTXD_PATIENT | CLIENT_LATER};
	const char *wish = secure_getenv("CTXRING_PUBLISH");
	struct ctxd_client *client;

	if (wish && strcmp(wish, "1") == 0)
		(void)ctxd_connect(&options, &client);
}

void publish_prepare(void)
{
	atomic_store(&table_made, publish);
}
