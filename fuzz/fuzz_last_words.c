/* SPDX-License-Identifier: MIT */
/* Fuzzes the reading of last words, which an ended context has left in its done pipe. */
#include <stdlib.h>
#include <string.h>

#include "wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t again[WIRE_LAST_WORDS_MAX];
	struct wire_cause words;
	struct ctx_cause cause;

	if (wire_unpack_last_words(data, size, &words))
		return 0;
	wire_cause_to(&words, &cause);
	if (cause.text[sizeof(cause.text) - 1] || wire_pack_last_words(&words, again) != size ||
	    memcmp(data, again, size) != 0)
		abort();
	return 0;
}
