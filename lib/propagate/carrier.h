/* SPDX-License-Identifier: MIT */
/*
 * lib/propagate: contexts as text, for other processes. It may use base, table and core.
 *
 * The text forms in which a context travels: pure functions between bytes and numbers, which read what
 * strangers wrote. They are strict: what is not exactly of the form is -EINVAL, and nothing is written.
 * Whether that refuses the whole is for the caller to say.
 *
 * The environment variable is a list of fields, "name=value" separated by ";", the first of which is "v=1":
 *
 *	id=HEX label=TEXT left=NS at=NS boot=HEX trace=TRACEPARENT state=TEXT val.NAME=TEXT
 *
 * TEXT is percent-encoded (RFC 3986). left counts from at, a point on CLOCK_MONOTONIC of that boot and time
 * namespace: these three are read strictly, and each may stand once. Of all others the first of a name
 * counts. What is malformed among them is as if it had not been sent, unless somebody asks for that value.
 * Unknown fields are skipped, so that later versions can add some.
 */
#ifndef CTX_CARRIER_H
#define CTX_CARRIER_H

#include "ctxring.h"

/* Of the flags version 00 defines this one. It reserves the others, and has them sent as zero. */
struct carrier_trace {
	uint8_t id[16];
	uint8_t span[8];
	bool sampled; /* the sender may have recorded it */
};

#define CARRIER_TRACEPARENT_SIZE 56 /* with its NUL */
#define CARRIER_TIMEOUT_SIZE 10	    /* with its NUL */

/* A list being written: "first" to "size" bytes of memory, with a NUL. Once it is too long it stays so. */
struct carrier_text {
	char *bytes;
	size_t size, length;
	bool too_long;
};

void carrier_put(struct carrier_text *text, const char *bytes, size_t length);
void carrier_put_string(struct carrier_text *text, const char *string);
void carrier_put_encoded(struct carrier_text *text, const char *string);
/* The string as UTF-8: U+FFFD stands for each part of it that is not. */
void carrier_put_utf8(struct carrier_text *text, const char *string);
void carrier_put_number(struct carrier_text *text, uint64_t number);
void carrier_put_hex(struct carrier_text *text, uint64_t number);

/* RFC 9110, 5.6.2: what names of values may be. */
bool carrier_is_token(const char *name, size_t length);

/* grpc-timeout: up to eight digits and a unit. Written in the finest unit that holds it, never longer than it
 * is, but 1n at least. */
void carrier_write_timeout(uint64_t ns, char text[CARRIER_TIMEOUT_SIZE]);
int carrier_read_timeout(const char *text, uint64_t *ret_ns);

/* W3C Trace Context, version 00; what later versions append is ignored, and so are flags that 00 has not. */
void carrier_write_traceparent(const struct carrier_trace *trace, char text[CARRIER_TRACEPARENT_SIZE]);
int carrier_read_traceparent(const char *text, size_t length, struct carrier_trace *ret_trace);

/*
 * W3C tracestate: other people's, passed on as it came. Of one that is longer than the standard has everybody
 * pass on, the members that fit. "" for one that is malformed, which is one with bytes that no header may
 * have.
 */
#define CARRIER_TRACESTATE_SIZE 513 /* with its NUL */
void carrier_read_tracestate(const char *text, char ret_state[CARRIER_TRACESTATE_SIZE]);

/* A member of a list; name and value lie in the list. */
struct carrier_member {
	const char *name, *value;
	size_t name_length, value_length;
	bool malformed; /* in baggage: then name and value may be anything */
};

/*
 * The next member of W3C baggage from *at on. 1; 0 at the end. One that is malformed ends at the next comma
 * like any other; empty ones are left out, as in all lists of HTTP.
 */
int carrier_next_baggage(const char **at, struct carrier_member *ret_member);

/* The next field of the environment variable. 1; 0 at the end; -EINVAL: what stands there is no field. */
int carrier_next_field(const char **at, struct carrier_member *ret_member);

bool carrier_is_named(const struct carrier_member *member, const char *name);
int carrier_read_number(const struct carrier_member *member, uint64_t *ret_number);
int carrier_read_hex(const struct carrier_member *member, uint64_t *ret_number);

/* Undoes percent-encoding of a value, into at least value_length + 1 bytes. -EINVAL: not encoded so, or a
 * NUL. */
int carrier_decode(const struct carrier_member *member, char *ret_text);

#endif
