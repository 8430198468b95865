/* SPDX-License-Identifier: MIT */
/*
 * lib/propagate: contexts as text, for other processes. It may use base, table, core and client.
 *
 * The text forms in which a context travels: functions without state that turn numbers into text, and text
 * that strangers wrote into numbers. Reading is strict: text that is not exactly of its form is -EINVAL, and
 * nothing is stored then. The caller decides whether that refuses the whole context.
 *
 * The environment variable is a list of fields, "name=value" separated by ";", the first of which is "v=1":
 *
 *	id=HEX label=TEXT left=NS at=NS boot=HEX trace=TRACEPARENT state=TEXT val.NAME=TEXT
 *
 * TEXT is percent-encoded (RFC 3986). left counts from at, a point on CLOCK_MONOTONIC of that boot and time
 * namespace. left, at and boot are read strictly, and each may occur once. Of other fields the first of a
 * name counts, and a malformed one is ignored, unless the caller asks for the value in it. Unknown fields are
 * skipped, so that later versions can add some.
 */
#ifndef CTX_CARRIER_H
#define CTX_CARRIER_H

#include "ctxring.h"

/* A trace. Version 00 defines one flag, sampled; it reserves the others, which are sent as zero. */
struct carrier_trace {
	uint8_t id[16];
	uint8_t span[8];
	bool sampled; /* the sender may have recorded this trace */
};

#define CARRIER_TRACEPARENT_SIZE 56  /* with its NUL */
#define CARRIER_TIMEOUT_SIZE 10	     /* with its NUL */
#define CARRIER_MILLISECONDS_SIZE 11 /* with its NUL */

/* A list that is being written to size bytes, with a NUL at its end. After an overflow too_long stays set. */
struct carrier_text {
	char *bytes;
	size_t size, length;
	bool too_long;
};

void carrier_put(struct carrier_text *text, const char *bytes, size_t length);
void carrier_put_string(struct carrier_text *text, const char *string);
void carrier_put_encoded(struct carrier_text *text, const char *string);
/* Writes a string as UTF-8. U+FFFD replaces each part of it that is not UTF-8. */
void carrier_put_utf8(struct carrier_text *text, const char *string);
void carrier_put_number(struct carrier_text *text, uint64_t number);
void carrier_put_hex(struct carrier_text *text, uint64_t number);

/* Whether this is a token (RFC 9110, 5.6.2), as names of values have to be. */
bool carrier_is_token(const char *name, size_t length);

/*
 * grpc-timeout: up to eight digits and a unit. The time is written in the finest unit that holds it and
 * rounded down, but never to less than 1n.
 */
void carrier_write_timeout(uint64_t ns, char text[CARRIER_TIMEOUT_SIZE]);
int carrier_read_timeout(const char *text, uint64_t *ret_ns);

/*
 * A time in milliseconds, as x-envoy-expected-rq-timeout-ms and connect-timeout-ms have it: up to ten digits.
 * The time is rounded down, but never to less than 1, and cut to what ten digits can say, which is 115 days.
 * 0 is refused: the Connect protocol has no such value, and to Envoy it would mean a time without bound.
 */
void carrier_write_milliseconds(uint64_t ns, char text[CARRIER_MILLISECONDS_SIZE]);
int carrier_read_milliseconds(const char *text, uint64_t *ret_ns);

/*
 * W3C Trace Context, version 00. Ignored are the text that later versions append, and flags that version 00
 * does not have.
 */
void carrier_write_traceparent(const struct carrier_trace *trace, char text[CARRIER_TRACEPARENT_SIZE]);
int carrier_read_traceparent(const char *text, size_t length, struct carrier_trace *ret_trace);

/*
 * W3C tracestate: the list of other tracing systems, passed on as it came. Of a list longer than 512 bytes,
 * which the standard has everybody pass on, the members that fit are kept. "" for a list with bytes that no
 * header may have.
 */
#define CARRIER_TRACESTATE_SIZE 513 /* with its NUL */
void carrier_read_tracestate(const char *text, char ret_state[CARRIER_TRACESTATE_SIZE]);

/* A member of a list; name and value point into the list. */
struct carrier_member {
	const char *name, *value;
	size_t name_length, value_length;
	bool malformed; /* in baggage and tracestate only: name and value may be anything */
};

/* The next member of W3C tracestate from *at on. 1; 0 at the end. Empty members are skipped. */
int carrier_next_state(const char **at, struct carrier_member *ret_member);

/* Copies the value of the first member of that name. False: there is none, or it is malformed or too long. */
bool carrier_find_state(const char *state, const char *name, char *ret_value, size_t size);

/*
 * Writes state anew, with the member name=value at its front in place of one of that name; value NULL:
 * without it. Malformed members are left out, for because of one a receiver may ignore the whole list. The
 * list has at most 32 members and 512 bytes: of more, those at the end go; and before these, members of more
 * than 128 bytes.
 */
void carrier_write_tracestate(const char *state, const char *name, const char *value,
			      char ret_state[CARRIER_TRACESTATE_SIZE]);

/*
 * The next member of W3C baggage from *at on. 1; 0 at the end. A malformed member ends at the next comma as
 * any other does. Empty members are skipped, as in all lists of HTTP.
 */
int carrier_next_baggage(const char **at, struct carrier_member *ret_member);

/*
 * The next field of the environment variable from *at on. 1; 0 at the end; -EINVAL: the text there is not a
 * field.
 */
int carrier_next_field(const char **at, struct carrier_member *ret_member);

bool carrier_is_named(const struct carrier_member *member, const char *name);
int carrier_read_number(const struct carrier_member *member, uint64_t *ret_number);
int carrier_read_hex(const struct carrier_member *member, uint64_t *ret_number);

/*
 * Undoes the percent-encoding of a value, into at least value_length + 1 bytes. -EINVAL: the encoding is
 * wrong, or there is a NUL.
 */
int carrier_decode(const struct carrier_member *member, char *ret_text);

#endif
