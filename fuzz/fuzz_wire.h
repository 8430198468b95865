/* SPDX-License-Identifier: MIT */
/* The body of the two fuzzers of messages. A message that can be unpacked must be packed to the same bytes.
 * The size in the header is corrected first, since few inputs would have the right one. */
#include <stdlib.h>
#include <string.h>

#include "wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t bytes[WIRE_SIZE_MAX + 64], again[WIRE_SIZE_MAX];
	struct wire_message message;

	if (size > sizeof(bytes))
		size = sizeof(bytes);
	memcpy(bytes, data, size);
	if (size >= 8) {
		bytes[6] = (uint8_t)size;
		bytes[7] = (uint8_t)(size >> 8);
	}
	for (unsigned fds = 0; fds <= WIRE_FDS_MAX; fds++) {
		if (wire_unpack(bytes, size, fds, FROM_SERVICE, &message))
			continue;
		if (wire_fd_count(&message) != fds || wire_pack(&message, again) != size ||
		    memcmp(bytes, again, size) != 0)
			abort();
	}
	return 0;
}
