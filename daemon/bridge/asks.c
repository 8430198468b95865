/* SPDX-License-Identifier: MIT */
/* Questions to the fleet. */
#include <errno.h>

#include "parts.h"

void asks_init(struct bridge *bridge)
{
	(void)bridge;
}

void asks_finish(struct bridge *bridge)
{
	(void)bridge;
}

void asks_take(struct bridge *bridge, const struct wire_message *message)
{
	struct wire_message answer = {.type = WIRE_TELL, .serial = message->serial};

	answer.told.error = -EOPNOTSUPP;
	service_answer(bridge, &answer, -1);
}

void asks_service_lost(struct bridge *bridge)
{
	(void)bridge;
}
