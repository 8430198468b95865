/* SPDX-License-Identifier: MIT */
#include "defer.h"

#include <stddef.h>

void defer(struct deferred_list *list, struct deferred *deferred)
{
	deferred->next = NULL;
	*list->last = deferred;
	list->last = &deferred->next;
}

void deferred_run(struct deferred_list *list)
{
	struct deferred *deferred = list->first;

	deferred_list_init(list);
	while (deferred) {
		struct deferred *next = deferred->next;
		deferred->run(deferred);
		deferred = next;
	}
}
