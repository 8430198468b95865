/* SPDX-License-Identifier: MIT */
#include "hmac.h"

#ifdef HAVE_CRYPTO

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/params.h>

/* It is a context of libcrypto that has the key; each computation begins it anew. */
static EVP_MAC_CTX *context_of(struct hmac *hmac)
{
	return (EVP_MAC_CTX *)hmac;
}

bool hmac_is_supported(void)
{
	return true;
}

struct hmac *hmac_new(const uint8_t *key, size_t size)
{
	char digest[] = "SHA256";
	const OSSL_PARAM params[] = {OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
				     OSSL_PARAM_construct_end()};
	EVP_MAC *mac = EVP_MAC_fetch(NULL, "HMAC", NULL);
	EVP_MAC_CTX *context = mac ? EVP_MAC_CTX_new(mac) : NULL;

	EVP_MAC_free(mac);
	if (context && EVP_MAC_init(context, key, size, params) != 1) {
		EVP_MAC_CTX_free(context);
		context = NULL;
	}
	return (struct hmac *)context;
}

void hmac_free(struct hmac *hmac)
{
	EVP_MAC_CTX_free(context_of(hmac));
}

bool hmac_compute(struct hmac *hmac, const struct hmac_piece *pieces, unsigned count, uint8_t code[HMAC_SIZE])
{
	EVP_MAC_CTX *context = context_of(hmac);
	size_t size = 0;
	bool is_done = EVP_MAC_init(context, NULL, 0, NULL) == 1;

	for (unsigned i = 0; i < count && is_done; i++)
		is_done = EVP_MAC_update(context, pieces[i].bytes, pieces[i].size) == 1;
	return is_done && EVP_MAC_final(context, code, &size, HMAC_SIZE) == 1 && size == HMAC_SIZE;
}

bool hmac_equal(const uint8_t a[HMAC_SIZE], const uint8_t b[HMAC_SIZE])
{
	return CRYPTO_memcmp(a, b, HMAC_SIZE) == 0;
}

#else

bool hmac_is_supported(void)
{
	return false;
}

struct hmac *hmac_new(const uint8_t *key, size_t size)
{
	(void)key;
	(void)size;
	return NULL;
}

void hmac_free(struct hmac *hmac)
{
	(void)hmac;
}

bool hmac_compute(struct hmac *hmac, const struct hmac_piece *pieces, unsigned count, uint8_t code[HMAC_SIZE])
{
	(void)hmac;
	(void)pieces;
	(void)count;
	(void)code;
	return false;
}

bool hmac_equal(const uint8_t a[HMAC_SIZE], const uint8_t b[HMAC_SIZE])
{
	(void)a;
	(void)b;
	return false;
}

#endif
