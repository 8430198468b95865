/* SPDX-License-Identifier: MIT */
#include "tls.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#ifdef HAVE_HIREDIS_SSL

#include <hiredis_ssl.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "resolver.h"

struct tls {
	SSL_CTX *context;
};

bool tls_is_supported(void)
{
	return true;
}

int tls_open(const char *ca_file, struct tls **ret_tls, char *reason, size_t reason_size)
{
	struct tls *tls = calloc(1, sizeof(*tls));

	if (!tls)
		return -ENOMEM;
	tls->context = SSL_CTX_new(TLS_client_method());
	if (!tls->context) {
		free(tls);
		return -ENOMEM;
	}
	SSL_CTX_set_min_proto_version(tls->context, TLS1_2_VERSION);
	SSL_CTX_set_verify(tls->context, SSL_VERIFY_PEER, NULL);
	if (ca_file && *ca_file ? SSL_CTX_load_verify_locations(tls->context, ca_file, NULL) != 1
				: SSL_CTX_set_default_verify_paths(tls->context) != 1) {
		snprintf(reason, reason_size, "the certificates in %s cannot be read",
			 ca_file && *ca_file ? ca_file : "the system's store");
		tls_close(tls);
		return -EINVAL;
	}
	*ret_tls = tls;
	return 0;
}

void tls_close(struct tls *tls)
{
	if (!tls)
		return;
	SSL_CTX_free(tls->context);
	free(tls);
}

/* The certificate must be for this name, or for this numeric address. */
static bool expect_host(SSL *ssl, const char *host)
{
	if (resolver_is_numeric(host))
		return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), host) == 1;
	return SSL_set1_host(ssl, host) == 1 && SSL_set_tlsext_host_name(ssl, host) == 1;
}

struct ssl_st *tls_begin(struct tls *tls, redisContext *context, const char *host, const char **ret_problem)
{
	SSL *ssl = SSL_new(tls->context);

	*ret_problem = NULL;
	if (!ssl)
		return NULL;
	if (!expect_host(ssl, host) || redisInitiateSSL(context, ssl) != REDIS_OK) {
		*ret_problem = tls_problem(ssl);
		SSL_free(ssl);
		return NULL;
	}
	return ssl;
}

bool tls_is_ready(const struct ssl_st *ssl)
{
	return SSL_is_init_finished(ssl);
}

const char *tls_problem(const struct ssl_st *ssl)
{
	long result = SSL_get_verify_result(ssl);

	return result == X509_V_OK ? NULL : X509_verify_cert_error_string(result);
}

#else

bool tls_is_supported(void)
{
	return false;
}

int tls_open(const char *ca_file, struct tls **ret_tls, char *reason, size_t reason_size)
{
	(void)ca_file;
	(void)ret_tls;
	snprintf(reason, reason_size,
		 "this build has no TLS, which needs hiredis 1.0 with hiredis_ssl; "
		 "a tunnel such as stunnel(8) on a unix socket, with unix:/PATH here, does the same");
	return -ENOTSUP;
}

void tls_close(struct tls *tls)
{
	(void)tls;
}

struct ssl_st *tls_begin(struct tls *tls, redisContext *context, const char *host, const char **ret_problem)
{
	(void)tls;
	(void)context;
	(void)host;
	(void)ret_problem;
	return NULL;
}

bool tls_is_ready(const struct ssl_st *ssl)
{
	(void)ssl;
	return true;
}

const char *tls_problem(const struct ssl_st *ssl)
{
	(void)ssl;
	return NULL;
}

#endif
