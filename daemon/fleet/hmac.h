/* SPDX-License-Identifier: MIT */
/*
 * HMAC-SHA256 (RFC 2104, RFC 4231) by libcrypto of OpenSSL. Without that library when this was compiled there
 * is none.
 */
#ifndef CTXD_FLEET_HMAC_H
#define CTXD_FLEET_HMAC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HMAC_SIZE 32

struct hmac; /* a key */

struct hmac_piece {
	const void *bytes;
	size_t size;
};

bool hmac_is_supported(void);
/* NULL: no memory, or it is not supported. */
struct hmac *hmac_new(const uint8_t *key, size_t size);
/* NULL is allowed. */
void hmac_free(struct hmac *hmac);

/* The code of the pieces, one behind the other. False: no memory. */
bool hmac_compute(struct hmac *hmac, const struct hmac_piece *pieces, unsigned count,
		  uint8_t code[HMAC_SIZE]);
/* Whether two codes are equal, in a time that does not depend on them. */
bool hmac_equal(const uint8_t a[HMAC_SIZE], const uint8_t b[HMAC_SIZE]);

#endif
