/* SPDX-License-Identifier: MIT */
/* Contexts that carry a value. */
#include "debug.h"
#include "node.h"
#include "table_format.h"

int ctx_with_value(const struct ctx_context *parent, const struct ctx_key *key, void *value,
		   const char *label, const struct ctx_context **ret_ctx)
{
	if (!parent || !key || !ret_ctx)
		return debug_invalid(NULL, parent, key, ret_ctx);
	struct node_options options = {
		.flags = NODE_VALUE | (parent->flags & NODE_ENDLESS) | (label ? 0u : NODE_UNLISTED),
		.kind = CTX_TABLE_VALUE,
		.tail = sizeof(struct value),
		.label = label,
		.site = __builtin_return_address(0),
	};
	struct ctx_context *node = node_new(parent, &options);
	if (!node)
		return -ENOMEM;
	*node_value(node) = (struct value){.key = key, .value = value, .outer = node->values};
	node->values = node;
	node_publish(node, CTX_FOREVER);
	*ret_ctx = node;
	return 0;
}

int ctx_value(const struct ctx_context *ctx, const struct ctx_key *key, void **ret_value)
{
	if (!ctx || !key || !ret_value)
		return debug_invalid(NULL, ctx, key, ret_value);
	for (const struct ctx_context *node = ctx->values; node; node = node_value(node)->outer)
		if (node_value(node)->key == key) {
			*ret_value = node_value(node)->value;
			return 0;
		}
	return -ENOENT;
}
