/* SPDX-License-Identifier: MIT */
/* Contexts of other hosts: joining them by global ids. */
#include "client.h"

int ctxd_global_id_of(struct ctxd_client *client, const struct ctx_context *ctx, char id[CTXD_GLOBAL_ID_TEXT])
{
	(void)client;
	(void)ctx;
	(void)id;
	return -ENOTSUP;
}

int ctxd_join_remote(struct ctxd_client *client, const char *id, const char *label, unsigned flags,
		     struct ctx_context **ret_ctx)
{
	(void)client;
	(void)id;
	(void)label;
	(void)flags;
	(void)ret_ctx;
	return -ENOTSUP;
}
