/* SPDX-License-Identifier: MIT */
/*
 * How numbers and texts lie in bytes: for the files of lib/wire, and for daemon/fleet/fleet_wire.c.
 *
 * Each function both writes and reads, so that the two cannot differ. A field that is wrong sets `broken`;
 * the functions then go on without harm, and the caller looks at `broken` at the end.
 */
#ifndef CTX_CODEC_H
#define CTX_CODEC_H

#include "wire.h"

struct codec {
	uint8_t *out;	   /* where to write; NULL: this one reads */
	const uint8_t *in; /* where to read from */
	size_t at, size;
	bool broken;
};

static inline void require_that(struct codec *codec, bool condition)
{
	codec->broken |= !condition;
}

/* Numbers, in little-endian order. */
void code_u16(struct codec *codec, uint16_t *value);
void code_u32(struct codec *codec, uint32_t *value);
void code_i32(struct codec *codec, int32_t *value);
void code_u64(struct codec *codec, uint64_t *value);
/* Four bytes that are 0. */
void code_reserved(struct codec *codec);
/* A number without other bits than those in known. */
void code_flags(struct codec *codec, uint32_t *value, uint32_t known);
/* A number that is not negative. */
void code_pid(struct codec *codec, int32_t *value);
/* A negative errno, or 0 where that is allowed. */
void code_error(struct codec *codec, int32_t *value, bool may_be_0);

/* A text of size bytes: it ends with a NUL and is filled up with NULs, so that each text has one form only.
 */
void code_text(struct codec *codec, char *value, size_t size);
/* A text as its length in two bytes and its bytes, of which none is NUL. value has room for size. */
void code_string(struct codec *codec, char *value, size_t size);

bool is_host(const char *name);
void code_id(struct codec *codec, struct ctxd_id *value, bool may_be_none);
void code_report(struct codec *codec, struct ctxd_report *value);

#endif
