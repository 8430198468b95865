/* SPDX-License-Identifier: MIT */
/* Fuzzes what a bridge of a fleet reads. A batch that can be unpacked must be packed to the same bytes. */
#include <stdlib.h>
#include <string.h>

#include "fleet_wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t again[FLEET_BATCH_MAX + FLEET_MESSAGE_MAX];
	struct fleet_message message;
	struct fleet_batch batch;
	struct fleet_id id;
	char text[FLEET_ID_TEXT + 1] = "", text_again[FLEET_ID_TEXT];
	size_t at;

	memcpy(text, data, size < FLEET_ID_TEXT ? size : FLEET_ID_TEXT);
	if (fleet_id_parse(text, &id) == 0) {
		fleet_id_format(&id, text_again);
		if (strcmp(text, text_again) != 0)
			abort();
	}
	if (fleet_wire_unpack_header(data, size, &batch, &at) || fleet_wire_check(data, &batch, at))
		return 0;
	size_t size_again = fleet_wire_pack_header(&batch, again);
	for (unsigned i = 0; i < batch.count; i++) {
		if (!fleet_wire_next(data, &batch, &at, &message))
			abort();
		size_again += fleet_wire_pack(&message, again + size_again);
	}
	if (fleet_wire_next(data, &batch, &at, &message) || size_again != batch.end ||
	    memcmp(again, data, batch.end) != 0)
		abort();
	return 0;
}
