/* SPDX-License-Identifier: MIT */
/*
 * TLS of a connection to a server, where hiredis has it: from version 1.0 on, with its library hiredis_ssl.
 * That does not compare the name in a certificate, so this does it by OpenSSL.
 */
#ifndef CTXD_ENGINE_TLS_H
#define CTXD_ENGINE_TLS_H

#include <hiredis.h>
#include <stdbool.h>
#include <stddef.h>

struct tls;    /* whom is trusted */
struct ssl_st; /* of one connection */

/* Whether this build has it. */
bool tls_is_supported(void);
/* ca_file: a file of certificates, or NULL or "" for those of the system. 0, -EINVAL with a reason in words,
 * -ENOMEM. */
int tls_open(const char *ca_file, struct tls **ret_tls, char *reason, size_t reason_size);
/* NULL is allowed. */
void tls_close(struct tls *tls);

/*
 * Begins TLS on a connection that was made. host is the name that the certificate must have. The context
 * frees what is returned. NULL: it failed, and *ret_problem says why; if that is NULL the context may know.
 */
struct ssl_st *tls_begin(struct tls *tls, redisContext *context, const char *host, const char **ret_problem);
/* Whether the handshake is over, so that output can be written. */
bool tls_is_ready(const struct ssl_st *ssl);
/* Why the certificate was refused. NULL: it was not. */
const char *tls_problem(const struct ssl_st *ssl);

#endif
