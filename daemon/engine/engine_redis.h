/* SPDX-License-Identifier: MIT */
/*
 * daemon/engine: the engine of a fleet over Redis 7 or Valkey. It may use daemon/fleet/engine.h, base of lib/
 * and hiredis, and only this folder knows hiredis.
 *
 * The objects in the engine, for a fleet F:
 *
 *   ctx:F:lease:HOST  the incarnation of HOST's bridge as 16 hexadecimal digits; goes with its time to live
 *   ctx:F:in:HOST     the inbox of HOST, a stream; each entry has one field, "b", with a batch. It holds
 * about 8192 entries, and goes ten leases after its host or a sender has used it last
 *
 * Rights of the user of host A, as Redis 7 writes them:
 *
 *   resetkeys %W~ctx:F:in:* %RW~ctx:F:in:A %RW~ctx:F:lease:A %R~ctx:F:lease:*
 *   -@all +xadd +xread +xtrim +set +mget +ping +role +pexpire +scan
 *
 * Without +scan all works but the list of hosts.
 */
#ifndef CTXD_ENGINE_REDIS_H
#define CTXD_ENGINE_REDIS_H

#include "engine.h"

/* The texts are copied. */
struct engine_redis_config {
	/*
	 * Where the engine is. A port that is not given is 6379, of Sentinel 26379; IPv6 addresses stand in
	 * brackets. Where there are several, they are tried in turn until one says that it is the master.
	 *
	 *   redis://HOST[:PORT][,HOST[:PORT]...]
	 *   rediss://HOST[:PORT][,...]              the same over TLS, if hiredis has it
	 *   sentinel://NAME@HOST[:PORT][,...]       asks Sentinel where the master NAME is
	 *   unix:/PATH                              a socket of the server, or of a tunnel to it
	 */
	const char *address;
	const char *fleet; /* [a-zA-Z0-9_.-], up to 63 */
	const char *host;  /* of this bridge */
	const char *user;  /* NULL or "": the server's default user */
	const char
		*password_file; /* NULL or "": no password. Its first line is read at each new connection. */
	const char *ca_file;	/* whom TLS trusts; NULL or "": whom the system trusts */
	uint64_t lease_ns;
};

/*
 * Whether the address can be used. 0; or -EINVAL: it is malformed, -ENOTSUP: it needs TLS, which this build
 * does not have; and the reason in words.
 */
int engine_redis_check(const char *address, char *reason, size_t reason_size);

/*
 * Opens an engine. The connection is made by its dispatch. The whole process ignores SIGPIPE from then on,
 * since hiredis writes by write(2). Errors are those of engine_redis_check(), -EINVAL for the other texts, of
 * descriptors, and -ENOMEM, with a reason in words.
 */
int engine_redis_open(const struct engine_redis_config *config, const struct engine_events *events,
		      struct engine **ret_engine, char *reason, size_t reason_size);

#endif
