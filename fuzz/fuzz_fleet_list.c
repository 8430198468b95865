/* SPDX-License-Identifier: MIT */
/*
 * Fuzzes the reading of answers about the fleet. A record that can be read must be packed to the same bytes.
 * The size in the header is corrected first, since few inputs would have the right one.
 */
#include <stdlib.h>
#include <string.h>

#include "fleet_list.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t bytes[16384], again[WIRE_RECORD_MAX];
	struct wire_records records;
	struct wire_record record;

	if (size > sizeof(bytes))
		size = sizeof(bytes);
	memcpy(bytes, data, size);
	for (unsigned i = 0; i < 8 && size >= WIRE_RECORDS_HEADER; i++)
		bytes[16 + i] = (uint8_t)((uint64_t)size >> 8 * i);
	if (wire_records_begin(bytes, size, &records))
		return 0;
	for (size_t at = records.at; wire_records_next(&records, &record) > 0; at = records.at)
		if (wire_record_pack(&record, again) != records.at - at ||
		    memcmp(again, bytes + at, records.at - at) != 0)
			abort();
	return 0;
}
