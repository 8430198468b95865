/* SPDX-License-Identifier: MIT */
/*
 * What a server answers. Nothing in it is believed before it is checked: each function says whether the
 * answer has the form that was expected.
 */
#ifndef CTXD_ENGINE_REPLY_H
#define CTXD_ENGINE_REPLY_H

#include <hiredis.h>
#include <stdbool.h>
#include <stdint.h>

/* The text of an incarnation, with its NUL. */
#define INCARNATION_TEXT 17

/* What an error means to us. */
enum reply_error {
	REPLY_NO_ERROR,
	REPLY_LOST,   /* This server is no use now: a replica, loading its data, wants another password. */
	REPLY_DENIED, /* The user lacks a right. */
	REPLY_REFUSED /* This command was not done; others may be. */
};
enum reply_error reply_error_of(const redisReply *reply);

/* A string or a status. */
bool reply_is_text(const redisReply *reply);
/* A status with this text. */
bool reply_is_status(const redisReply *reply, const char *text);
/* An array of so many elements at least. */
bool reply_is_array(const redisReply *reply, size_t count);
/* Copies a text, cut, with bytes that are not printable as "?". "" if it is none. */
void reply_copy(const redisReply *reply, char *text, size_t size);

/* The incarnation in a lease: 16 hexadecimal digits, not all 0. nil is 0. False: neither. */
bool reply_read_incarnation(const redisReply *reply, uint64_t *ret_incarnation);
void incarnation_format(uint64_t incarnation, char text[INCARNATION_TEXT]);

/* The id of an entry of a stream: milliseconds and a number. */
struct stream_id {
	uint64_t ms, number;
};
bool reply_read_stream_id(const redisReply *reply, struct stream_id *ret_id);

/* The value after a name in an array of names and values. NULL: there is none. */
const redisReply *reply_find(const redisReply *reply, const char *name);

#endif
